"""Which device it is, whatever way it was reached. Pure."""

from __future__ import annotations

from mobilesplit.core.profiles import DeviceFacts

_COUNTED_UP = "0123456789abcdef"


def known_as(facts: DeviceFacts) -> str:
    """The device's own serial number; where its maker gave it none, or all phones the same
    (``0123456789ABCDEF``; of an AVD it is the emulator's version), what adb calls it."""
    number = facts.serial_number
    if number is not None and _is_its_own(number):
        return number
    return facts.serial or number or facts.name


def _is_its_own(number: str) -> bool:
    plain = number.lower()
    if plain in ("unknown", "null") or plain.startswith("emulator"):
        return False
    return len(set(plain)) > 1 and plain not in _COUNTED_UP
