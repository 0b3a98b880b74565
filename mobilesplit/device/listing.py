"""Every device that can be seen from here, usable or not, each once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mobilesplit.core.errors import UsbUnusableError
from mobilesplit.device.connect import USABLE, unusable
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.transports.adb_server import AdbServer, Listed
from mobilesplit.device.transports.transport import TransportKind
from mobilesplit.device.transports.usb import find_usb_links

_LOOK_S = 5.0


@dataclass(frozen=True)
class Found:
    """A device, not connected to."""

    serial: str
    """As `connect` takes it."""
    state: str
    """``device`` for a usable one, else adb's word: ``offline``, ``unauthorized``, ..."""
    transport: TransportKind
    """The way that `connect` takes."""
    emulated: bool = False
    """Whether its serial alone tells that it is a virtual phone or an AVD."""

    @property
    def usable(self) -> bool:
        """Whether connecting is worth trying."""
        return self.state == USABLE

    @property
    def mend(self) -> str:
        """What makes it usable; empty where it is."""
        return "" if self.usable else unusable(Listed(self.serial, self.state)).next_step


def find_devices(virtual_phones: Iterable[str], server: AdbServer | None) -> list[Found]:
    """Running virtual phones by their serials, what an adb server knows, and phones on a cable
    where no server holds them.

    Raises:
        DeviceError: what listens as the adb server is none.
    """
    listed = {} if server is None else {item.serial: item for item in server.devices()}
    found = []
    for serial in virtual_phones:
        behind = listed.pop(serial, None)
        through_server = behind is not None and behind.state == USABLE
        found.append(Found(serial, USABLE, "server" if through_server else "tcp", emulated=True))
    for item in listed.values():
        found.append(Found(*item, "server", emulated=item.serial.startswith("emulator-")))
    if server is None:
        found += [Found(serial, USABLE, "usb") for serial in _on_cables()]
    return found


def _on_cables() -> list[str]:
    try:
        return sorted(find_usb_links(Deadline(_LOOK_S)))
    except UsbUnusableError:
        return []
