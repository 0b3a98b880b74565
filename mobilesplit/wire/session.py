"""Both sides of a connection as state machines. Sans-I/O: bytes in, events and bytes out.

Hello comes first. The server's session answers everything by itself except jobs: those are its
events. After ``closed`` turns true the owner sends what is left and closes the connection.
"""

from __future__ import annotations

from mobilesplit.core.errors import RefusedError, WireError
from mobilesplit.wire.frames import MAX_FRAME_NBYTES, VERSION, Blob, WireVersionError, filler
from mobilesplit.wire.messages import (
    Envelope,
    Hello,
    Job,
    Message,
    Ping,
    Pong,
    Probe,
    ProbeReply,
    Refused,
    Result,
    TailProfile,
    TailProfileRequest,
    Welcome,
    decode_message,
    encode_message,
)


class ServerSession:
    """The server's side of one connection.

    Args:
        welcome: the answer to a proper Hello.
        profile: what the server measured of itself.
    """

    def __init__(self, welcome: Welcome, profile: TailProfile) -> None:
        self.closed = False
        self._welcome = welcome
        self._profile = profile
        self._greeted = False
        self._outgoing: list[bytes] = []

    def data_to_send(self) -> list[bytes]:
        """Frames to send, in order; each is handed out once."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def receive(self, data: bytes | str) -> Envelope | None:
        """Take one websocket message; a job comes back, anything else is answered here."""
        assert not self.closed
        if isinstance(data, str):
            self._close("protocol", "Text messages mean nothing here; frames are binary.")
            return None
        try:
            envelope = decode_message(data, max_nbytes=self._welcome.max_message_nbytes)
        except WireVersionError as error:
            self._close("version", error.what, error.next_step)
            return None
        except WireError as error:
            self._close("protocol", error.what)
            return None
        if self._greeted:
            return self._answer(envelope)
        self._greet(envelope.message)
        return None

    def refuse(self, job: Job, code: str, reason: str, next_step: str = "") -> None:
        """Queue the answer no to one job."""
        reason, next_step = reason[:2000], next_step[:2000]
        self._send(Refused(id=job.id, code=code, reason=reason, next_step=next_step))

    def _greet(self, message: Message) -> None:
        if not isinstance(message, Hello):
            self._close("protocol", f"The first message is {_name(message)}, not Hello.")
        elif message.version != VERSION:
            self._close(
                "version",
                f"The client speaks wire version {message.version}, the server {VERSION}.",
                "Install the same mobilesplit on both sides.",
            )
        elif message.model != self._welcome.model:
            self._close(
                "model",
                f"This server serves {self._welcome.model!r}, not {message.model!r}.",
                "Serve the bundle that the phone holds.",
            )
        else:
            self._greeted = True
            self._send(self._welcome)

    def _answer(self, envelope: Envelope) -> Envelope | None:
        message = envelope.message
        if isinstance(message, Job):
            return envelope
        if isinstance(message, Probe):
            self._send(ProbeReply(id=message.id), filler(message.reply_nbytes))
        elif isinstance(message, TailProfileRequest):
            self._send(_selection(self._profile, message.cuts))
        elif isinstance(message, Ping):
            self._send(Pong(id=message.id))
        else:
            self._close("protocol", f"A client does not send {_name(message)} here.")
        return None

    def _send(self, message: Message, blobs: tuple[Blob, ...] = ()) -> None:
        self._outgoing.append(encode_message(message, blobs))

    def _close(self, code: str, reason: str, next_step: str = "") -> None:
        self._send(Refused(id=None, code=code, reason=reason[:2000], next_step=next_step))
        self.closed = True


class ClientSession:
    """The client's side of one connection: it checks what a server may say, and when."""

    def __init__(self, *, client: str, model: str, max_nbytes: int = MAX_FRAME_NBYTES) -> None:
        self.welcome: Welcome | None = None
        self._hello = Hello(client=client, model=model)
        self._max_nbytes = max_nbytes

    def hello(self) -> bytes:
        """The first frame to send."""
        return encode_message(self._hello)

    def receive(self, data: bytes | str) -> Envelope:
        """Take one websocket message from the server.

        Raises:
            RefusedError: for a refusal.
            WireError: for bytes or messages that a server does not send.
        """
        if isinstance(data, str):
            raise WireError("The server sent a text message.", next_step=_NOT_OURS)
        envelope = decode_message(data, max_nbytes=self._max_nbytes)
        message = envelope.message
        if isinstance(message, Refused):
            raise RefusedError(message.reason, next_step=message.next_step)
        if isinstance(message, Welcome) and self.welcome is None:
            self.welcome = message
        elif self.welcome is None or not isinstance(
            message, Result | ProbeReply | TailProfile | Pong
        ):
            raise WireError(f"A server does not send {_name(message)} here.", next_step=_NOT_OURS)
        return envelope


_NOT_OURS = "Is it a mobilesplit server?"


def _selection(profile: TailProfile, cuts: tuple[str, ...] | None) -> TailProfile:
    """The profile of the cuts named; names that are not there are left out."""
    if cuts is None:
        return profile
    return TailProfile(
        tail_ms={cut: profile.tail_ms[cut] for cut in cuts if cut in profile.tail_ms},
        decode_ms={cut: profile.decode_ms[cut] for cut in cuts if cut in profile.decode_ms},
    )


def _name(message: Message) -> str:
    return type(message).__name__
