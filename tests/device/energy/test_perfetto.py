"""A perfetto trace's energy fields: bytes that perfetto's own protos made, and wrong ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilesplit.device.energy.perfetto import decode
from mobilesplit.device.energy.readings import BatteryReading, RailReading

RAILS = bytes.fromhex(
    "0a414080c8afa025c202380a0d080012034350551a017820ff070a0e08031204444953501a017820ff0712090800"
    "10864e18c0843d120c080310864e188080808080200a144080adca9726c2020b1209080010805018e0c65b0a1e40"
    "80daac9c26b20215150000a84218eed6e5ffffffffffff0138eff4fb01"
)
"""Rails CPU and DISP, then CPU alone, then battery counters; by google's perfetto 0.59.1 protos."""
BATTERY = bytes.fromhex(
    "0a1e4080e497d012b202150880b7be01150000a84218eed6e5ffffffffffff01"
    "0a114080c9b2c713b2020818800438eff4fb01"
)
"""-431250 µA without a voltage, then 512 µA at 4127343 µV."""


def test_rails_are_named_by_their_descriptors_and_keep_what_a_packet_leaves_out() -> None:
    assert decode(RAILS) == [
        RailReading(10.0, 9.99, {"CPU": 1_000_000, "DISP": 2**40}),
        RailReading(10.25, 10.24, {"CPU": 1_500_000, "DISP": 2**40}),
    ]


def test_rails_of_one_name_are_not_lost() -> None:
    same = RAILS.replace(b"\x12\x04DISP\x1a\x01x", b"\x12\x03CPU\x1a\x02xx")
    readings = [r.energy_uws for r in decode(same) if isinstance(r, RailReading)]
    assert readings[0] == {"CPU": 1_000_000, "CPU/3": 2**40}


def test_without_rails_the_batterys_current_is_read_with_its_sign() -> None:
    assert decode(BATTERY, voltage_mv=4000.0) == [
        BatteryReading(5.0, -431250, 4000.0),
        BatteryReading(5.25, 512, 4127.343),
    ]


def test_a_current_without_any_voltage_is_no_reading() -> None:
    assert decode(BATTERY) == [BatteryReading(5.25, 512, 4127.343)]


def test_rails_wait_until_every_one_that_is_described_has_counted() -> None:
    described, cpu_only = RAILS[:67], RAILS[67:89]
    late = bytearray(described)
    # The energy of DISP becomes a field that nobody knows.
    late[late.index(b"\x12\x0c\x08\x03")] = 0x7A
    assert decode(bytes(late)) == []
    assert decode(bytes(late) + cpu_only) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (RAILS[:30], "beyond the end"),
        (b"\x0b\x00", "wire type 3"),
        (b"\x0a", "no whole number"),
        (b"\xff" * 20, "no whole number"),
    ],
)
def test_bytes_that_are_no_trace_are_a_value_error(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_readings_or_a_value_error(data: bytes) -> None:
    try:
        decode(data)
    except ValueError:
        return


def test_a_trace_of_nothing_holds_nothing() -> None:
    assert decode(b"") == []
