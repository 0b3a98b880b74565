"""The websocket server: connections, admission, one worker that runs tails.

The rule: nothing that a client sends keeps another client waiting longer than its jobs' work,
and nothing is computed on the event loop. Imports no torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from mobilesplit import __version__
from mobilesplit.core.errors import MobilesplitError, UsageError, WireError
from mobilesplit.wire import codecs
from mobilesplit.wire.frames import MAX_FRAME_NBYTES, Blob
from mobilesplit.wire.messages import (
    Envelope,
    Job,
    Result,
    TailProfile,
    Welcome,
    bundle_digest,
    encode_message,
)
from mobilesplit.wire.session import ServerSession

if TYPE_CHECKING:
    from mobilesplit.cloud.executor import StageExecutor

_log = logging.getLogger("mobilesplit.cloud")
# Port scanners make websockets log a traceback each; our own errors go to _log.
_websockets_log = logging.getLogger("mobilesplit.cloud.websockets")
_websockets_log.setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Limits:
    """What one server puts up with."""

    max_message_nbytes: int = MAX_FRAME_NBYTES
    """Larger messages close their connection (1009)."""
    max_jobs_per_connection: int = 8
    """Jobs of one connection that wait or run; more are refused as busy."""
    max_waiting_nbytes: int = 256 * 1024 * 1024
    """Payload of all jobs that wait or run; more is refused as busy."""
    max_connections: int = 64
    """More are turned away with HTTP 503."""
    opening_s: float = 10.0
    """For the websocket handshake, and again for the Hello."""
    stopping_s: float = 30.0
    """For the running job when the server is told to stop."""


async def serve(
    executor: StageExecutor,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    profile: TailProfile,
    ready: Callable[[int], None],
    insecure: bool = False,
    limits: Limits | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or ``stop``; then finish the running job and close with 1001.

    Args:
        port: 0 takes a free one.
        profile: what ``executor.warm_and_measure`` returned.
        ready: called with the port once connections are accepted.
        insecure: allow an address that others can reach; there is no authentication.

    Raises:
        UsageError: for an address beyond loopback without ``insecure``.
        MobilesplitError: when the address cannot be bound.
    """
    if not insecure and not _is_loopback(host):
        raise UsageError(
            f"{host} can be reached from other machines, and the server has no authentication.",
            next_step="Listen on 127.0.0.1 behind a tunnel, or pass --insecure.",
        )
    tail_server = _TailServer(executor, profile, limits or Limits())
    stop = stop or asyncio.Event()
    with _stopped_by_signals(stop):
        listener = await tail_server.listen(host, port)
        try:
            ready(listener.sockets[0].getsockname()[1])
            await stop.wait()
        finally:
            await tail_server.finish(listener)


class _TailServer:
    """State that all connections share."""

    def __init__(self, executor: StageExecutor, profile: TailProfile, limits: Limits) -> None:
        self._executor = executor
        self._profile = profile
        self._limits = limits
        self._welcome = Welcome(
            server=f"mobilesplit {__version__}",
            model=executor.manifest.model,
            bundle=bundle_digest(executor.manifest),
            codecs=executor.codecs,
            max_message_nbytes=limits.max_message_nbytes,
        )
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tails")
        self._jobs: set[asyncio.Task[None]] = set()
        self._waiting_nbytes = 0
        self._connections = 0
        self._stopping = False

    async def listen(self, host: str, port: int) -> Server:
        try:
            return await websockets_serve(
                self._handle,
                host,
                port,
                process_request=self._process_request,
                max_size=self._limits.max_message_nbytes,
                # Each waiting message may be of the largest size.
                max_queue=1,
                # Activations hardly compress, and a phone's CPU is the scarce one.
                compression=None,
                open_timeout=self._limits.opening_s,
                # A client behind a slow link answers a ping only after its long message.
                ping_interval=20,
                ping_timeout=60,
                close_timeout=5,
                logger=_websockets_log,
            )
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise MobilesplitError(
                f"Cannot listen on {host}:{port}: {'the port is taken' if taken else error}.",
                next_step="Choose another --port, or 0 for a free one.",
            ) from None

    async def finish(self, listener: Server) -> None:
        """Let the running job end, refuse the waiting ones, close everything."""
        self._stopping = True
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=self._limits.stopping_s)
        listener.close()
        await listener.wait_closed()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz":
            health = {
                "status": "stopping" if self._stopping else "ok",
                "model": self._welcome.model,
                "tail_runs": self._executor.tail_runs,
                "connections": self._connections,
            }
            response = connection.respond(HTTPStatus.OK, json.dumps(health) + "\n")
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        if self._stopping or self._connections >= self._limits.max_connections:
            why = "stopping" if self._stopping else "too many connections"
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n")
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        self._connections += 1
        client = _Client(connection, ServerSession(self._welcome, self._profile))
        try:
            await self._talk(client)
        except (ConnectionClosed, TimeoutError):
            pass
        except Exception:
            _log.exception("a connection failed")
        finally:
            client.gone = True
            self._connections -= 1

    async def _talk(self, client: _Client) -> None:
        async with asyncio.timeout(self._limits.opening_s):
            envelope = client.session.receive(await client.connection.recv())
        while True:
            if envelope is not None:
                self._admit(client, envelope)
            await client.flush()
            if client.session.closed:
                await client.connection.close(1008, "refused")
                return
            envelope = client.session.receive(await client.connection.recv())

    def _admit(self, client: _Client, envelope: Envelope) -> None:
        """Start a job, or refuse it: what is refused here has cost no work."""
        job = envelope.message
        assert isinstance(job, Job)
        refusal = self._refusal(client, job, envelope)
        if refusal is not None:
            client.session.refuse(job, *refusal)
            return
        client.num_jobs += 1
        self._waiting_nbytes += envelope.frame_nbytes
        task = asyncio.create_task(self._run(client, job, envelope, time.perf_counter()))
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def _refusal(self, client: _Client, job: Job, envelope: Envelope) -> tuple[str, ...] | None:
        taken = self._welcome.codecs
        if self._stopping:
            return "stopping", "The server is stopping."
        if job.cut not in taken:
            return "cut", f"There is no tail at cut {job.cut!r}.", f"Known: {', '.join(taken)}."
        if job.codec not in taken[job.cut]:
            known = ", ".join(taken[job.cut])
            return "codec", f"Codec {job.codec!r} is not for cut {job.cut!r}.", f"Known: {known}."
        if not _in_time(job, waited_ms=0.0):
            return "expired", f"The deadline had passed: {job.deadline_ms} ms were left."
        full = client.num_jobs >= self._limits.max_jobs_per_connection
        if full or self._waiting_nbytes + envelope.frame_nbytes > self._limits.max_waiting_nbytes:
            return "busy", "The server is busy.", "Try again later, or run on the device."
        try:
            codecs.check(
                job.codec,
                envelope.blobs,
                self._executor.boundary(job.cut),
                self._executor.manifest.preprocess,
            )
        except WireError as error:
            return "input", error.what, error.next_step
        return None

    async def _run(self, client: _Client, job: Job, envelope: Envelope, arrived_s: float) -> None:
        try:
            answer = await asyncio.get_running_loop().run_in_executor(
                self._worker, self._work, client, job, envelope.blobs, arrived_s
            )
        except _Refusal as refusal:
            client.session.refuse(job, *refusal.args)
            answer = None
        finally:
            client.num_jobs -= 1
            self._waiting_nbytes -= envelope.frame_nbytes
        with contextlib.suppress(ConnectionClosed):
            if answer is not None:
                await client.connection.send(answer)
            await client.flush()

    def _work(
        self, client: _Client, job: Job, blobs: tuple[Blob, ...], arrived_s: float
    ) -> bytes | None:
        """On the worker's thread: decode and run; None when nobody waits for it any more."""
        if client.gone:
            return None
        started_s = time.perf_counter()
        queue_ms = (started_s - arrived_s) * 1e3
        if self._stopping:
            raise _Refusal("stopping", "The server is stopping.")
        if not _in_time(job, waited_ms=queue_ms):
            raise _Refusal("expired", f"The deadline passed in the queue ({queue_ms:.0f} ms).")
        boundary = self._executor.boundary(job.cut)
        try:
            arrays = codecs.decode(job.codec, blobs, boundary, self._executor.manifest.preprocess)
        except WireError as error:
            raise _Refusal("input", error.what, error.next_step) from None
        decode_ms = (time.perf_counter() - started_s) * 1e3
        try:
            outputs, tail_ms = self._executor.run_tail(job.cut, arrays)
            result = Result(
                id=job.id,
                decode_ms=decode_ms,
                tail_ms=tail_ms,
                queue_ms=queue_ms,
                tail_runs=self._executor.tail_runs,
            )
            specs = self._executor.manifest.outputs
            return encode_message(
                result,
                [Blob(spec.name, array) for spec, array in zip(specs, outputs, strict=True)],
            )
        except Exception as error:
            _log.exception("the tail at %s failed", job.cut)
            raise _Refusal("failed", f"The tail failed: {type(error).__name__}.") from error


class _Refusal(Exception):
    """Code, reason and next step, on their way from the worker to the connection."""


class _Client:
    """One connection."""

    def __init__(self, connection: ServerConnection, session: ServerSession) -> None:
        self.connection = connection
        self.session = session
        self.num_jobs = 0
        self.gone = False

    async def flush(self) -> None:
        for data in self.session.data_to_send():
            await self.connection.send(data)


def _in_time(job: Job, *, waited_ms: float) -> bool:
    # Written so that a deadline of NaN counts as passed.
    return job.deadline_ms is None or job.deadline_ms > waited_ms


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set ``stop`` once; a second one kills as it always does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def restore() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    def stop_once() -> None:
        restore()
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, stop_once)
    try:
        yield
    finally:
        restore()
