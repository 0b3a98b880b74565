"""The virtual phone's process: ``python -m mobilesplit.emulator.daemon --state FOLDER ...``.

Rule: it holds a lock on its state folder for as long as it lives, and nothing that it started
outlives it. phones.py writes the folder and starts it; nobody needs to run it by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from mobilesplit.emulator.adbd import AdbConnection, AuthPolicy, Service
from mobilesplit.emulator.control import ControlServer
from mobilesplit.emulator.device_description import DeviceDescription
from mobilesplit.emulator.disconnects import Disconnects
from mobilesplit.emulator.faults import Faults
from mobilesplit.emulator.kernel_files import add_kernel_files
from mobilesplit.emulator.phone import VirtualPhone
from mobilesplit.emulator.programs import AllowedPrograms
from mobilesplit.emulator.shell_service import find_shell_service
from mobilesplit.emulator.sync_service import find_sync_service

log = logging.getLogger("mobilesplit.emulator")

DESCRIPTION_FILE = "description.json"
ALLOWED_FILE = "allowed.json"
STATS_FILE = "stats.json"
LOCK_FILE = "lock"
_LOCK_TRIES, _LOCK_WAIT_S = 20, 0.02
_SHORTEST_LOOK_S, _GAUGE_LOOK_S = 0.05, 0.25
_STREAM_BUFFER_NBYTES = 1024 * 1024


class StateTakenError(Exception):
    """Another daemon holds the state folder."""


def hold_lock(state: Path) -> int:
    """The descriptor of the folder's lock, held until this process ends.

    Raises:
        StateTakenError: somebody holds it.
    """
    descriptor = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_LOCK_TRIES):
        # Who lists the phones holds it shared for an instant: that is no daemon.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_WAIT_S)
        else:
            return descriptor
    os.close(descriptor)
    raise StateTakenError(str(state))


class PhoneServer:
    """Listens for hosts and keeps ``stats.json`` current."""

    def __init__(self, phone: VirtualPhone, *, state: Path, auth: AuthPolicy) -> None:
        self._phone = phone
        self._stats = state / STATS_FILE
        self._auth = auth
        self._disconnects = Disconnects(phone)
        self._servers: list[asyncio.Server] = []
        self._hosts: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        """Start to listen; the port. Raises OSError, with EADDRINUSE for a taken one."""
        server = await asyncio.start_server(
            self._serve_host, host, port, limit=_STREAM_BUFFER_NBYTES
        )
        self._servers.append(server)
        self._servers.append(await ControlServer(self._change_faults).listen(self._stats.parent))
        self.write_stats()
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, hang up, kill every program."""
        for server in self._servers:
            server.close()
        self._disconnects.disarm()
        for task in list(self._hosts):
            task.cancel()
        await asyncio.gather(*self._hosts, return_exceptions=True)
        await self._phone.end_adopted()
        self._phone.programs.kill_all()
        await asyncio.gather(
            *(program.finished for program in list(self._phone.programs.live.values()))
        )
        self.write_stats()

    def write_stats(self) -> None:
        """Replace the stats file in one step, so that a reader never sees half of it."""
        part = self._stats.with_suffix(".part")
        part.write_text(json.dumps(self._phone.stats()))
        part.replace(self._stats)

    async def _serve_host(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._disconnects.refuses:
            writer.transport.abort()
            return
        self._hosts.add(task)
        connections = self._phone.connections
        connections.open += 1
        connections.total += 1
        self.write_stats()
        connection = AdbConnection(
            reader,
            writer,
            banner=self._phone.banner(),
            auth="refuse" if self._phone.faults.refuse_auth else self._auth,
            find_service=self._find_service,
        )
        self._disconnects.watch(connection)
        try:
            await connection.run()
        except asyncio.CancelledError:
            pass  # the phone is going down
        finally:
            self._disconnects.forget(connection)
            connections.open -= 1
            self._hosts.discard(task)
            self.write_stats()

    def _change_faults(self, changes: Mapping[str, object]) -> Faults:
        faults = self._phone.change_faults(changes)
        self._disconnects.faults_changed(changes)
        return faults

    def _find_service(self, name: bytes) -> Service | None:
        found = find_shell_service(self._phone, name)
        return found or find_sync_service(self._phone.filesystem, name)


async def run_daemon(options: argparse.Namespace) -> int:
    """Until a signal, or the starter's end where it asked for that; the exit code."""
    state: Path = options.state
    description = DeviceDescription.load(
        (state / DESCRIPTION_FILE).read_bytes(), source=DESCRIPTION_FILE
    )
    allowed: AllowedPrograms = json.loads((state / ALLOWED_FILE).read_text())
    phone = VirtualPhone(
        description, name=options.name, state=state, allowed=allowed, seed=options.seed
    )
    add_kernel_files(phone)
    server = PhoneServer(phone, state=state, auth=options.auth)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def starter_spoke() -> None:
        # A byte lets the phone outlive its starter; the end of the pipe means that it has gone.
        loop.remove_reader(options.parent_fd)
        if not os.read(options.parent_fd, 1):
            stop.set()

    loop.add_reader(options.parent_fd, starter_spoke)
    phone.programs.on_change = server.write_stats
    try:
        port = await server.listen(options.host, options.port)
    except OSError as error:
        kind = "port" if error.errno == errno.EADDRINUSE else str(error)
        _tell_starter(options.ready_fd, {"error": kind})
        return 1
    log.info("%s listens on %s:%d", options.name, options.host, port)
    _tell_starter(options.ready_fd, {"port": port})
    watching = asyncio.create_task(_watch_gauge(phone))
    await stop.wait()
    watching.cancel()
    log.info("%s stops", options.name)
    loop.remove_reader(options.parent_fd)
    await server.close()
    return 0


async def _watch_gauge(phone: VirtualPhone) -> None:
    """Look at the gauge as it refreshes: what nobody looked at it would show as one long mean."""
    gauge = phone.description.gauge
    while True:
        phone.gauge()
        await asyncio.sleep(max(_SHORTEST_LOOK_S, min(gauge.window_s, _GAUGE_LOOK_S)))


def _tell_starter(descriptor: int, message: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, json.dumps(message).encode() + b"\n")
    os.close(descriptor)


def main() -> int:
    """Exit code 0 after a signal, 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="mobilesplit.emulator.daemon")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--auth", choices=("accept", "refuse"), required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--parent-fd", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    for descriptor in (options.ready_fd, options.parent_fd):
        os.set_inheritable(descriptor, False)
    os.umask(0o077)
    try:
        lock = hold_lock(options.state)
    except StateTakenError:
        _tell_starter(options.ready_fd, {"error": "running"})
        return 1
    try:
        return asyncio.run(run_daemon(options))
    finally:
        os.close(lock)


if __name__ == "__main__":
    sys.exit(main())
