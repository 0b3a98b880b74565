"""A device behind an adb server: its serial is the one that `adb devices` shows.

A server that runs is used; none is started but by `start_server`. adbutils speaks to the server;
the sockets that it opened to a device's services are read and written here, because it has neither
a two-way stream nor a deadline.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import adbutils
from adbutils.errors import AdbError, AdbTimeout

from mobilesplit.core.errors import DeviceError, UsageError, first_line
from mobilesplit.device.causes import NEXT_STEPS, find_cause
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.transports.transport import gone, too_late
from mobilesplit.device.transports.waiting import wait_until_ready

DEFAULT_PORT = 5037
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_START_S = 30.0
_ANSWER_S = 5.0
_READ_BYTES = 256 * 1024


class Address(NamedTuple):
    """Where an adb server listens."""

    host: str
    port: int


class Listed(NamedTuple):
    """A line of `adb devices`."""

    serial: str
    state: str
    """``device``, ``offline``, ``unauthorized``, ..., in adb's words."""


def server_address(environment: Mapping[str, str]) -> Address:
    """Where adb's conventions say that the server is: ``ADB_SERVER_SOCKET`` over
    ``ANDROID_ADB_SERVER_ADDRESS`` and ``ANDROID_ADB_SERVER_PORT``.

    Raises:
        UsageError: a variable that cannot be read.
    """
    spec = environment.get("ADB_SERVER_SOCKET")
    if spec:
        kind, _, rest = spec.partition(":")
        host, _, port = rest.rpartition(":")
        if kind == "tcp" and _is_port(port):
            return Address(host or "127.0.0.1", int(port))
        raise UsageError(
            f"ADB_SERVER_SOCKET is {spec!r}, which is no TCP address.",
            next_step="Set it to tcp:HOST:PORT or tcp:PORT.",
        )
    port = environment.get("ANDROID_ADB_SERVER_PORT") or str(DEFAULT_PORT)
    if not _is_port(port):
        raise UsageError(
            f"ANDROID_ADB_SERVER_PORT is {port!r}, which is no port.",
            next_step="Set it to a number from 1 to 65535.",
        )
    return Address(environment.get("ANDROID_ADB_SERVER_ADDRESS") or "127.0.0.1", int(port))


def _is_port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) < 65536


@dataclass(frozen=True)
class AdbServer:
    """A server that answered when it was looked for."""

    address: Address

    @classmethod
    def running(cls, environment: Mapping[str, str] | None = None) -> AdbServer | None:
        """The server of ``environment`` (None: of this process), None where none answers."""
        address = server_address(os.environ if environment is None else environment)
        try:
            socket.create_connection(address, timeout=1.0).close()
        except OSError:
            return None
        return cls(address)

    def devices(self) -> list[Listed]:
        """What it knows, usable or not.

        Raises:
            DeviceError: it does not answer as an adb server does.
        """
        try:
            return [Listed(item.serial, item.state) for item in self._client().list()]
        except (AdbError, OSError, ValueError) as error:
            raise self._strange(error) from None

    def version(self) -> int:
        """Protocol version, 41 for 1.0.41. Raises as `devices` does."""
        try:
            return int(self._client().server_version())
        except (AdbError, OSError, ValueError) as error:
            raise self._strange(error) from None

    def open(self, serial: str, service: str, deadline: Deadline) -> socket.socket:
        """A socket to a service of a device.

        Raises:
            DeviceError: the server does not know it, or it is not usable; or no answer in time.
            DeviceGoneError: the server has ended.
        """
        try:
            # adbutils would start another server in the place of one that has ended.
            socket.create_connection(self.address, timeout=deadline.left_s()).close()
            connection = self._client().make_connection(timeout=deadline.left_s())
            try:
                for request in (f"host:transport:{serial}", service):
                    connection.conn.settimeout(deadline.left_s())
                    connection.send_command(request)
                    connection.check_okay()
            except BaseException:
                connection.conn.close()
                raise
        except (TimeoutError, AdbTimeout):
            raise too_late(serial, deadline) from None
        except AdbError as error:
            said = first_line(str(error)) or "nothing"
            if said == "connection closed" or said.startswith("Unknown data: b''"):
                raise gone(serial, "the adb server closed it") from None
            cause = find_cause(str(error), None)
            raise DeviceError(
                f"the adb server says: {said}.",
                serial=serial,
                cause=cause,
                next_step=NEXT_STEPS[cause] if cause else "See `mobilesplit devices`.",
            ) from None
        except OSError as error:
            raise gone(serial, str(error)) from None
        opened: socket.socket = connection.conn
        opened.setblocking(False)
        return opened

    def _client(self) -> adbutils.AdbClient:
        return adbutils.AdbClient(*self.address, socket_timeout=_ANSWER_S)

    def _strange(self, error: Exception) -> DeviceError:
        host, port = self.address
        return DeviceError(
            f"what listens at {host}:{port} is no adb server, or an ill one"
            f" ({first_line(str(error)) or type(error).__name__}).",
            next_step="Run `adb kill-server`, or set ANDROID_ADB_SERVER_PORT.",
        )


def start_server() -> AdbServer:
    """Start an adb server where the environment says, with the adb on PATH or adbutils' own.

    Raises:
        DeviceError: it did not start, or belongs on another machine.
    """
    host, port = server_address(os.environ)
    if host not in _THIS_MACHINE:
        raise DeviceError(
            f"no adb server answers at {host}:{port}, and it cannot be started from here.",
            next_step="Start it there (`adb -a start-server`), or unset ADB_SERVER_SOCKET and "
            "ANDROID_ADB_SERVER_ADDRESS.",
        )
    # adb takes every other name of this machine for another machine's.
    environment = {**os.environ, "ADB_SERVER_SOCKET": f"tcp:localhost:{port}"}
    try:
        done = subprocess.run(
            [adbutils.adb_path(), "start-server"],
            capture_output=True,
            text=True,
            timeout=_START_S,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _not_started(str(error)) from None
    server = AdbServer.running()
    if server is None:
        lines = done.stderr.strip().splitlines()
        raise _not_started(lines[-1] if lines else f"exit code {done.returncode}")
    return server


def _not_started(why: str) -> DeviceError:
    return DeviceError(
        f"no adb server could be started ({why}).",
        next_step="Run `adb start-server` to see more.",
    )


class ServerTransport:
    """A `Transport` through an adb server."""

    kind: Literal["server"] = "server"

    def __init__(self, serial: str, server: AdbServer) -> None:
        self.serial = serial
        self._server = server
        self._channels: set[ServerChannel] = set()
        self._closed = False

    def open_service(self, service: str, deadline: Deadline) -> ServerChannel:
        if self._closed:
            raise gone(self.serial, "it was closed here")
        opened = self._server.open(self.serial, service, deadline)
        channel = ServerChannel(self.serial, opened, on_close=self._channels.discard)
        self._channels.add(channel)
        return channel

    def close(self) -> None:
        self._closed = True
        for channel in tuple(self._channels):
            channel.close()


class ServerChannel:
    """A `Channel` of a `ServerTransport`: a socket of its own."""

    def __init__(
        self, serial: str, opened: socket.socket, on_close: Callable[[ServerChannel], None]
    ) -> None:
        self._serial = serial
        self._socket = opened
        self._on_close = on_close
        self._received = bytearray()
        self._ended = False

    def send(self, data: bytes, deadline: Deadline) -> bool:
        view = memoryview(data)
        with self._translated(deadline):
            while view and not self._ended:
                # The service may write before it reads on: taking that in keeps both going.
                ready = wait_until_ready(
                    self._socket, deadline.left_s(), to_read=True, to_write=True
                )
                if ready.to_read:
                    self._take()
                if ready.to_write and not self._ended:
                    try:
                        view = view[self._socket.send(view) :]
                    except ConnectionError:
                        # What it said before it closed may still be there to be read.
                        return False
        return not self._ended

    def receive(self, deadline: Deadline) -> bytes:
        with self._translated(deadline):
            while not self._received and not self._ended:
                if wait_until_ready(self._socket, deadline.left_s(), to_read=True).to_read:
                    self._take()
        data = bytes(self._received)
        self._received.clear()
        return data

    def has_received(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            if not self._ended and wait_until_ready(self._socket, 0, to_read=True).to_read:
                self._take()
        return bool(self._received)

    def close(self) -> None:
        self._on_close(self)
        # Wakes a thread that waits on it.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _take(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        self._received += data
        self._ended = not data

    @contextlib.contextmanager
    def _translated(self, deadline: Deadline) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise too_late(self._serial, deadline) from None
        except (OSError, ValueError) as error:
            raise gone(self._serial, str(error)) from None
