"""Which device a command means: --serial, $ANDROID_SERIAL, or the only one there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mobilesplit.core.errors import DeviceError

if TYPE_CHECKING:
    from mobilesplit.device.listing import Found


def all_serials(*, start_server: bool = False) -> list[Found]:
    """Every device that can be seen from here: virtual phones, an adb server's, those on USB.

    An adb server is started only where ``start_server`` asks for it.

    Raises:
        DeviceError: what listens as the adb server is none, or it could not be started.
        UsageError: the environment names an adb server that cannot be.
    """
    from mobilesplit.device.listing import find_devices
    from mobilesplit.device.transports import adb_server
    from mobilesplit.emulator.phones import list_phones

    server = adb_server.AdbServer.running()
    if server is None and start_server:
        server = adb_server.start_server()
    return find_devices([phone.serial for phone in list_phones()], server)


def named_serial(serial: str | None) -> str | None:
    """What the user named: ``serial`` of --serial over $ANDROID_SERIAL; None for neither."""
    return serial or os.environ.get("ANDROID_SERIAL") or None


def choose_serial(serial: str | None) -> str:
    """The serial to connect to.

    Raises:
        DeviceError: none was named and there is not exactly one device.
    """
    named = named_serial(serial)
    if named:
        return named
    found = all_serials()
    if len(found) == 1:
        if not found[0].usable:
            raise DeviceError(
                f"the only device is {found[0].state}.",
                serial=found[0].serial,
                next_step=found[0].mend,
            )
        return found[0].serial
    if not found:
        raise no_device()
    listing = ", ".join(f"{item.serial} ({item.state})" for item in found)
    raise DeviceError(
        f"there are {len(found)} devices: {listing}.", next_step="Choose one with --serial."
    )


def no_device() -> DeviceError:
    """What to say where there is none at all."""
    return DeviceError(
        "no device found.",
        next_step="Start a virtual phone with `mobilesplit emulator start`; or plug in a phone with"
        " USB debugging on, and run `mobilesplit devices --start-server`; or give --serial.",
    )
