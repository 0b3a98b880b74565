"""The USB interface below adb-shell, through libusb. Imported only where USB is asked for: the
library is the extra ``usb``, and importing this raises ImportError or OSError without it.

Rule: as the socket's link, it keeps the deadline of the operation under way.
"""

from __future__ import annotations

import usb1
from adb_shell.exceptions import UsbReadFailedError, UsbWriteFailedError
from adb_shell.transport.usb_transport import UsbTransport

from mobilesplit.core.errors import DeviceError
from mobilesplit.device.deadline import Deadline

_MEND_ACCESS = (
    "Install Android's udev rules (Debian: `apt install android-sdk-platform-tools-common`), "
    "join the group plugdev, and plug the phone in again."
)


class UsbLink(UsbTransport):  # type: ignore[misc]  # adb-shell is untyped
    """A phone on a cable. Times out with TimeoutError, breaks with OSError."""

    deadline: Deadline

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None = None) -> bytes:
        try:
            data: bytes = super().bulk_read(numbytes, self.deadline.left_s())
        except UsbReadFailedError as error:
            raise _as_os_error(error.usb_error) from None
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float | None = None) -> int:
        try:
            written: int = super().bulk_write(data, self.deadline.left_s())
        except UsbWriteFailedError as error:
            raise _as_os_error(error.usb_error) from None
        if written != len(data):
            raise ConnectionResetError(f"{written} of {len(data)} bytes were taken")
        return written

    def withdraw(self) -> bool:
        """Whether the last message was dropped, as the socket's link can: nothing waits here."""
        return False

    def connect(self, transport_timeout_s: float | None = None) -> None:
        try:
            super().connect(transport_timeout_s)
        except usb1.USBErrorBusy:
            raise DeviceError(
                "the phone's USB interface is in use.",
                next_step="An adb server holds it, most likely: use that, or `adb kill-server`.",
            ) from None
        except usb1.USBErrorAccess:
            raise DeviceError(
                "no permission for the phone's USB interface.",
                cause="no_permission",
                next_step=_MEND_ACCESS,
            ) from None
        except usb1.USBError as error:
            raise _as_os_error(error) from None


def usb_links(deadline: Deadline) -> dict[str, UsbLink]:
    """Phones on a cable by serial, not connected yet; those that may not be asked are left out."""
    links = {}
    for link in UsbLink.find_all_adb_devices():
        link.deadline = deadline
        try:
            links[str(link.serial_number)] = link
        except usb1.USBError:
            continue
    return links


def _as_os_error(error: object) -> OSError:
    if isinstance(error, usb1.USBErrorTimeout):
        return TimeoutError()
    return ConnectionResetError(str(error) or type(error).__name__)
