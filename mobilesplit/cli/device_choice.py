"""Which device a command means: --serial, $ANDROID_SERIAL, or the only virtual phone."""

from __future__ import annotations

import os

from mobilesplit.core.errors import DeviceError


def choose_serial(serial: str | None) -> str:
    """The serial to connect to.

    Raises:
        DeviceError: none was named and there is not exactly one virtual phone.
    """
    from mobilesplit.emulator.phones import list_phones

    named = serial or os.environ.get("ANDROID_SERIAL")
    if named:
        return named
    phones = list_phones()
    if len(phones) == 1:
        return phones[0].serial
    if not phones:
        raise DeviceError(
            "no device was named and no virtual phone runs.",
            next_step="Start one with `mobilesplit emulator start`, or give --serial HOST:PORT.",
        )
    listing = ", ".join(phone.serial for phone in phones)
    raise DeviceError(
        f"{len(phones)} virtual phones run: {listing}.", next_step="Choose one with --serial."
    )
