"""The client's connection to a tail server: blocking, one question at a time.

The rule: no call outlives its time limit, and each fails with one of the error tree's classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from websockets.exceptions import ConnectionClosed, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from mobilesplit import __version__
from mobilesplit.core.errors import CloudError, ServerGoneError, UsageError, WireError
from mobilesplit.core.results import Array
from mobilesplit.wire.frames import MAX_FRAME_NBYTES, Blob, filler
from mobilesplit.wire.messages import (
    Envelope,
    Job,
    Message,
    Probe,
    ProbeReply,
    Result,
    TailProfile,
    TailProfileRequest,
    Welcome,
    encode_message,
)
from mobilesplit.wire.session import ClientSession

_START_SERVER = "Is `mobilesplit serve` running there?"
# What goes wrong is raised; websockets would print a traceback as well.
_websockets_log = logging.getLogger("mobilesplit.client.websockets")
_websockets_log.setLevel(logging.CRITICAL)
_Expected = TypeVar("_Expected", bound=Message)


@dataclass(frozen=True)
class TailAnswer:
    """What came back for a job, and what it took; all times measured."""

    outputs: tuple[Array, ...]
    """The model's outputs, read-only."""
    decode_ms: float
    """By the server: decoding."""
    tail_ms: float
    """By the server: the tail."""
    queue_ms: float
    """By the server: waiting before decoding."""
    round_trip_ms: float
    """By the client: from the first byte sent to the last received, the server's part included."""
    sent_bytes: int
    """The job's frame."""
    received_bytes: int
    """The result's frame."""
    tail_runs: int
    """Tails that the server has run since it started, this one included."""

    @property
    def network_ms(self) -> float:
        """What of the round trip was neither waiting nor work in the cloud."""
        return self.round_trip_ms - self.queue_ms - self.decode_ms - self.tail_ms


class CloudConnection:
    """An open connection that the server has welcomed. Use `open`, and close it after use."""

    def __init__(self, url: str, connected: ClientConnection, session: ClientSession) -> None:
        self.url = url
        self._socket = connected
        self._session = session
        self._next_id = 0

    @classmethod
    def open(cls, url: str, model: str, connect_timeout_s: float = 5.0) -> Self:
        """Connect and say hello.

        Args:
            url: ``ws://host:port`` (or ``wss://``).
            model: the model whose tails are wanted, as in the manifest.
            connect_timeout_s: for connecting, and again for the server's welcome.

        Raises:
            UsageError: for something that is no websocket URL.
            CloudError: when nobody answers there.
            RefusedError: when the server speaks another version or serves another model.
        """
        try:
            connected = connect(
                url,
                open_timeout=connect_timeout_s,
                close_timeout=1.0,
                max_size=MAX_FRAME_NBYTES,
                compression=None,
                # Every wait has its own limit here; keepalive would only add traffic.
                ping_interval=None,
                proxy=None,
                logger=_websockets_log,
            )
        except (InvalidURI, ValueError):
            raise UsageError(
                f"{url!r} is not a websocket URL.", next_step="Write it as ws://host:port."
            ) from None
        except (OSError, WebSocketException, AssertionError) as error:
            # websockets 17 fails an assertion of its own when the other side speaks no HTTP and
            # hangs up at the same moment.
            why = {TimeoutError: "no answer in time", AssertionError: "no websocket server"}.get(
                type(error), str(error)
            )
            raise CloudError(f"Cannot connect to {url}: {why}.", next_step=_START_SERVER) from None
        session = ClientSession(client=f"mobilesplit {__version__}", model=model)
        connection = cls(url, connected, session)
        try:
            connection._exchange(session.hello(), Welcome, connect_timeout_s)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def welcome(self) -> Welcome:
        """What the server said of itself."""
        assert self._session.welcome is not None
        return self._session.welcome

    def run_tail(
        self,
        cut: str,
        codec: str,
        blobs: Sequence[Blob],
        *,
        deadline_ms: float | None = None,
        timeout_s: float = 30.0,
    ) -> TailAnswer:
        """Run the tail of ``cut`` on an encoded boundary (`wire.codecs.encode`).

        Args:
            deadline_ms: what is left of the job's time; a server that cannot start in it refuses.
            timeout_s: after this the server counts as gone.

        Raises:
            RefusedError: the server said no; the connection stays usable.
            ServerGoneError: the connection was lost, or no answer came in time; it is closed.
            WireError: the answer is no valid frame, or none to this job; it is closed.
        """
        job = Job(id=self._take_id(), cut=cut, codec=codec, deadline_ms=deadline_ms)
        request = encode_message(job, blobs)
        self._check_size(request)
        started = time.perf_counter()
        envelope, result = self._exchange(request, Result, timeout_s)
        round_trip_ms = (time.perf_counter() - started) * 1e3
        self._check_id(job.id, result.id)
        return TailAnswer(
            outputs=tuple(blob.array for blob in envelope.blobs),
            decode_ms=result.decode_ms,
            tail_ms=result.tail_ms,
            queue_ms=result.queue_ms,
            round_trip_ms=round_trip_ms,
            sent_bytes=len(request),
            received_bytes=envelope.frame_nbytes,
            tail_runs=result.tail_runs,
        )

    def probe(self, send_nbytes: int, reply_nbytes: int, *, timeout_s: float = 30.0) -> float:
        """Send and ask for that much filler; the round trip in ms. Raises as `run_tail`."""
        probe = Probe(id=self._take_id(), reply_nbytes=reply_nbytes)
        request = encode_message(probe, filler(send_nbytes))
        self._check_size(request)
        started = time.perf_counter()
        _, reply = self._exchange(request, ProbeReply, timeout_s)
        round_trip_ms = (time.perf_counter() - started) * 1e3
        self._check_id(probe.id, reply.id)
        return round_trip_ms

    def tail_profile(self, *, timeout_s: float = 30.0) -> TailProfile:
        """What the server measured of itself when it started. Raises as `run_tail`."""
        request = encode_message(TailProfileRequest())
        return self._exchange(request, TailProfile, timeout_s)[1]

    def close(self) -> None:
        """Close the connection; closing again does nothing."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _exchange(
        self, request: bytes, expected: type[_Expected], timeout_s: float
    ) -> tuple[Envelope, _Expected]:
        deadline_s = time.monotonic() + timeout_s
        try:
            # websockets' send has no time limit and would wait for ever for a server that reads
            # no more. The socket's own is for a whole sendall; receiving polls before it reads.
            self._socket.socket.settimeout(timeout_s)
            self._socket.send(request)
            answer = self._socket.recv(timeout=max(deadline_s - time.monotonic(), 0.0))
        except TimeoutError:
            self._abandon()
            raise ServerGoneError(
                f"No answer from {self.url} within {timeout_s:g} s.", next_step=_START_SERVER
            ) from None
        except (ConnectionClosed, OSError) as error:
            self._abandon()
            if time.monotonic() >= deadline_s:
                what = f"{self.url} took no more data within {timeout_s:g} s."
            else:
                what = f"The connection to {self.url} was lost: {error}."
            raise ServerGoneError(what, next_step=_START_SERVER) from None
        try:
            envelope = self._session.receive(answer)
            if not isinstance(envelope.message, expected):
                raise WireError(
                    f"The server answered {type(envelope.message).__name__}, "
                    f"not {expected.__name__}."
                )
        except WireError:
            self._abandon()
            raise
        return envelope, envelope.message

    def _abandon(self) -> None:
        """Drop the connection without the closing handshake, which could wait for a dead peer."""
        self._socket.close_socket()

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _check_size(self, request: bytes) -> None:
        limit = self.welcome.max_message_nbytes
        if len(request) > limit:
            raise WireError(
                f"The message is {len(request)} bytes; the server takes at most {limit}.",
                next_step="Choose a cut with a smaller boundary.",
            )

    def _check_id(self, sent: int, received: int) -> None:
        if received != sent:
            self._abandon()
            raise WireError(f"The server answered message {received}, not {sent}.")
