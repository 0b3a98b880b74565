"""What every way to a device gives: services of its adb daemon as two-way byte streams.

Shell and sync are spoken above this line, once for all transports. Every failure is a DeviceError
that names the serial; whoever knows the command adds it.
"""

from __future__ import annotations

from typing import Literal, Protocol

from mobilesplit.core.errors import DeviceGoneError, DeviceTimeoutError
from mobilesplit.device.deadline import Deadline

TransportKind = Literal["tcp", "usb", "server"]


class Channel(Protocol):
    """A service that was opened. Bytes that come while something is sent are kept."""

    def send(self, data: bytes, deadline: Deadline) -> bool:
        """Send all of ``data``; False when the other side has closed.

        Raises:
            DeviceTimeoutError: it was not taken in time.
            DeviceGoneError: the connection was lost.
        """
        ...

    def receive(self, deadline: Deadline) -> bytes:
        """The next bytes; none once the other side has closed. Raises as `send` does."""
        ...

    def has_received(self) -> bool:
        """Whether `receive` has bytes at hand, without waiting for any."""
        ...

    def close(self) -> None:
        """End it; twice is fine, and no failure is told."""
        ...


class Transport(Protocol):
    """A connection to one device. For one thread, but `close` may come from another: whoever
    waits then learns that the device is gone."""

    @property
    def serial(self) -> str:
        """As the user knows the device."""
        ...

    @property
    def kind(self) -> TransportKind:
        """Which way it is."""
        ...

    def open_service(self, service: str, deadline: Deadline) -> Channel:
        """Open a service of the device, ``sync:`` say.

        Raises:
            DeviceError: the device refused it, or did not answer in time.
            DeviceGoneError: the connection was lost.
        """
        ...

    def close(self) -> None:
        """Drop the connection; twice is fine."""
        ...


def too_late(serial: str, deadline: Deadline) -> DeviceTimeoutError:
    """What a transport raises when the deadline has passed."""
    return DeviceTimeoutError(f"no answer within {deadline.timeout_s:g} s.", serial=serial)


def gone(serial: str, why: str) -> DeviceGoneError:
    """What a transport raises when the connection broke."""
    return DeviceGoneError(
        f"the connection to the device was lost ({why}).",
        serial=serial,
        next_step="Check the cable or `mobilesplit devices`, then run it again.",
    )
