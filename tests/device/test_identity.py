"""A device is known by its serial number, unless that is nobody's own."""

from __future__ import annotations

import pytest

from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.identity import known_as


def test_the_same_phone_is_known_by_its_number_over_any_address() -> None:
    for address in ("R58M123ABC", "192.168.1.7:5555"):
        assert known_as(DeviceFacts(name="a", serial=address, serial_number="R58M123ABC")) == (
            "R58M123ABC"
        )


@pytest.mark.parametrize(
    "number",
    [
        "0123456789ABCDEF",
        "123456789ABCDEF",
        "0123456789",
        "00000000",
        "unknown",
        "",
        "EMULATOR35X2X10X0",
        None,
    ],
)
def test_a_number_that_many_phones_share_tells_nothing(number: str | None) -> None:
    one, other = (
        DeviceFacts(name="a", serial=f"10.0.0.{host}:5555", serial_number=number) for host in (1, 2)
    )
    assert known_as(one) != known_as(other)
