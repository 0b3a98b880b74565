"""Phones on a cable without an adb server, where the extra ``usb`` is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilesplit.core.errors import UsbUnusableError
from mobilesplit.device.deadline import Deadline

if TYPE_CHECKING:
    from mobilesplit.device.transports.usb_link import UsbLink


def find_usb_links(deadline: Deadline) -> dict[str, UsbLink]:
    """Links to phones on a cable by serial, not connected yet.

    Raises:
        UsbUnusableError: there is no libusb here.
    """
    try:
        from mobilesplit.device.transports.usb_link import usb_links
    except ImportError:
        raise UsbUnusableError(
            "phones on USB cannot be reached without the Python package libusb1.",
            next_step='Run `pip install "mobilesplit[usb]"`, or start an adb server.',
        ) from None
    except OSError as error:
        raise UsbUnusableError(
            f"phones on USB cannot be reached: libusb does not load ({error}).",
            next_step="Install it (Debian: `apt install libusb-1.0-0`), or start an adb server.",
        ) from None
    return usb_links(deadline)
