"""The messages: what each kind of frame says. Pure data.

Numbers in times are ms. Clocks of the two sides are never compared: a deadline is what is left of
the job's time when the server receives it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

import msgspec

from mobilesplit.core.errors import WireError
from mobilesplit.core.manifest import Manifest
from mobilesplit.wire.frames import (
    MAX_BLOBS,
    MAX_FRAME_NBYTES,
    VERSION,
    Blob,
    Name,
    decode_frame,
    encode_frame,
)

MAX_PROBE_REPLY_NBYTES = 8 * 1024 * 1024

Id = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Ms = Annotated[float, msgspec.Meta(ge=0)]


class Kind(IntEnum):
    """The kind byte of a frame."""

    HELLO = 1
    WELCOME = 2
    JOB = 3
    RESULT = 4
    REFUSED = 5
    PROBE = 6
    PROBE_REPLY = 7
    TAIL_PROFILE_REQUEST = 8
    TAIL_PROFILE = 9
    PING = 10
    PONG = 11


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all messages."""


class Hello(Message, frozen=True):
    """Client: the first message of a connection."""

    client: Name
    """Program and version, for people."""
    model: Name
    """The model that the client holds heads of."""
    version: int = VERSION
    """Wire version."""


class Welcome(Message, frozen=True):
    """Server: the answer to Hello."""

    server: Name
    """Program and version, for people."""
    model: Name
    """The model that is served."""
    bundle: Name
    """Digest of the bundle (`bundle_digest`)."""
    codecs: dict[Name, tuple[Name, ...]]
    """Codecs taken at each cut that has a tail, by depth."""
    max_message_nbytes: int
    """Larger messages are refused."""

    @property
    def cuts(self) -> tuple[str, ...]:
        """Cuts that have a tail, by depth."""
        return tuple(self.codecs)


class Job(Message, frozen=True):
    """Client: run the tail of ``cut`` on the blobs."""

    id: Id
    """Chosen by the client; the answer carries it."""
    cut: Name
    codec: Name
    deadline_ms: float | None = None
    """Time left when sent; None: however long it takes."""


class Result(Message, frozen=True):
    """Server: the model's outputs, as blobs."""

    id: Id
    decode_ms: Ms
    """Measured: from received bytes to the tail's inputs."""
    tail_ms: Ms
    """Measured: the tail."""
    queue_ms: Ms
    """Measured: from arrival to the start of decoding."""
    tail_runs: Annotated[int, msgspec.Meta(ge=0)]
    """Tails that this server has run for jobs since it started, this one included."""


class Refused(Message, frozen=True):
    """Server: no, and why. Without an id the connection is closed after it."""

    id: Id | None
    code: Name
    """One of: version, model, protocol, cut, codec, input, expired, busy, stopping, failed."""
    reason: Text
    next_step: Text = ""


class Probe(Message, frozen=True):
    """Client: a message of a certain size that asks for an answer of a certain size."""

    id: Id
    reply_nbytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_PROBE_REPLY_NBYTES)]
    """Payload of the reply."""


class ProbeReply(Message, frozen=True):
    """Server: the answer to Probe; its payload is zeros (frames are never compressed)."""

    id: Id


class TailProfileRequest(Message, frozen=True):
    """Client: what did the server measure of itself?"""

    cuts: tuple[Name, ...] | None = None
    """None: all."""


class TailProfile(Message, frozen=True):
    """Server: its measurements at start-up. Asking again measures nothing again."""

    tail_ms: dict[Name, tuple[Ms, ...]]
    """Samples of each cut's tail."""
    decode_ms: dict[Name, dict[Name, tuple[Ms, ...]]]
    """Samples of decoding, by cut and codec."""


class Ping(Message, frozen=True):
    """Client: are you there?"""

    id: Id


class Pong(Message, frozen=True):
    """Server: yes."""

    id: Id


_TYPES: dict[Kind, type[Message]] = {
    Kind.HELLO: Hello,
    Kind.WELCOME: Welcome,
    Kind.JOB: Job,
    Kind.RESULT: Result,
    Kind.REFUSED: Refused,
    Kind.PROBE: Probe,
    Kind.PROBE_REPLY: ProbeReply,
    Kind.TAIL_PROFILE_REQUEST: TailProfileRequest,
    Kind.TAIL_PROFILE: TailProfile,
    Kind.PING: Ping,
    Kind.PONG: Pong,
}
_KINDS = {message_type: kind for kind, message_type in _TYPES.items()}
_DECODERS = {kind: msgspec.msgpack.Decoder(message_type) for kind, message_type in _TYPES.items()}
# Every other message carries no blobs.
_MAX_BLOBS: dict[type[Message], int] = {Job: MAX_BLOBS, Result: MAX_BLOBS, Probe: 1, ProbeReply: 1}
_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True)
class Envelope:
    """A message with the blobs that came in its frame."""

    message: Message
    blobs: tuple[Blob, ...]
    frame_nbytes: int


def encode_message(message: Message, blobs: Sequence[Blob] = ()) -> bytes:
    """The message and its blobs as one frame. Raises WireError as `encode_frame` does."""
    message_type = type(message)
    assert len(blobs) <= _MAX_BLOBS.get(message_type, 0), message_type
    return encode_frame(_KINDS[message_type], _encoder.encode(message), blobs)


def decode_message(data: bytes, *, max_nbytes: int = MAX_FRAME_NBYTES) -> Envelope:
    """The message in a frame.

    Raises:
        WireError: for anything that is not exactly one valid message, saying why in one line.
    """
    frame = decode_frame(data, max_nbytes=max_nbytes)
    decoder = _DECODERS.get(frame.kind)  # type: ignore[call-overload]
    if decoder is None:
        raise WireError(f"There is no message of kind {frame.kind}.")
    try:
        message = decoder.decode(frame.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"{Kind(frame.kind).name} is invalid: {error}.") from None
    if len(frame.blobs) > _MAX_BLOBS.get(type(message), 0):
        raise WireError(f"{Kind(frame.kind).name} does not carry {len(frame.blobs)} blobs.")
    return Envelope(message, frame.blobs, len(data))


def bundle_digest(manifest: Manifest) -> str:
    """SHA-256 of the manifest, which holds the digests of all other files of the bundle."""
    return hashlib.sha256(manifest.save().encode()).hexdigest()
