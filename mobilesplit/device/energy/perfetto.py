"""The fields of a perfetto trace that hold energy, read from protobuf's wire format. Pure.

Source of the numbers: perfetto's public protos (trace/trace.proto, trace_packet.proto,
power/power_rails.proto, power/battery_counters.proto); of the wire format: protobuf.dev, Encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

from mobilesplit.device.energy.readings import BatteryReading, RailReading, Reading

_TRACE_PACKET = 1
_TIMESTAMP_NS, _BATTERY, _POWER_RAILS = 8, 38, 40
_CURRENT_UA, _VOLTAGE_UV = 3, 7
_DESCRIPTOR, _ENERGY = 1, 2
_INDEX, _RAIL_NAME = 1, 2
_COUNTED_MS, _ENERGY_UWS = 2, 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_NBYTES = {_FIXED64: 8, _FIXED32: 4}
_MOST_VARINT_BITS = 64

CONFIG = """buffers { size_kb: 4096 fill_policy: RING_BUFFER }
data_sources { config { name: "android.power" android_power_config {
  battery_poll_ms: 250 battery_counters: BATTERY_COUNTER_CURRENT %s
  collect_power_rails: true } } }
write_into_file: true file_write_period_ms: 1000 duration_ms: %d
"""
"""Text config: the voltage counter, which old versions refuse, and the longest duration."""
VOLTAGE_COUNTER = "battery_counters: BATTERY_COUNTER_VOLTAGE"


def decode(trace: bytes, *, voltage_mv: float | None = None) -> list[Reading]:
    """The rails of a trace; where it has none, its battery counters. In order of their time.

    ``voltage_mv`` stands in where the trace does not say the battery's voltage; without either,
    the battery counters are no reading.

    Raises:
        ValueError: the bytes are no perfetto trace, or were cut off.
    """
    rails = _Rails()
    battery: list[Reading] = []
    last_mv = voltage_mv
    for number, packet in _fields(trace):
        if number != _TRACE_PACKET or not isinstance(packet, bytes):
            continue
        fields = dict(_fields(packet))
        time_s = _integer(fields.get(_TIMESTAMP_NS)) / 1e9
        if isinstance(data := fields.get(_POWER_RAILS), bytes):
            rails.take(time_s, data)
        if isinstance(data := fields.get(_BATTERY), bytes):
            counters = dict(_fields(data))
            if _VOLTAGE_UV in counters:
                last_mv = _integer(counters[_VOLTAGE_UV]) / 1e3
            if _CURRENT_UA in counters and last_mv:
                current = _signed(_integer(counters[_CURRENT_UA]))
                battery.append(BatteryReading(time_s, current, last_mv))
    return sorted(rails.readings or battery, key=lambda reading: reading.time_s)


class _Rails:
    """Descriptors come once, energies for ever after, not always all of them at once."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._energy_uws: dict[int, int] = {}
        self.readings: list[Reading] = []

    def take(self, time_s: float, data: bytes) -> None:
        counted_ms = 0
        for number, value in _fields(data):
            if not isinstance(value, bytes):
                continue
            fields = dict(_fields(value))
            index = _integer(fields.get(_INDEX))
            if number == _DESCRIPTOR:
                name = fields.get(_RAIL_NAME)
                self._names[index] = (
                    name.decode(errors="replace") if isinstance(name, bytes) else ""
                )
            elif number == _ENERGY:
                self._energy_uws[index] = _integer(fields.get(_ENERGY_UWS))
                counted_ms = max(counted_ms, _integer(fields.get(_COUNTED_MS)))
        # A reading without a rail that is known to exist would look like a fallen counter.
        if counted_ms and self._energy_uws.keys() >= self._names.keys():
            named: dict[str, int] = {}
            for index, energy in sorted(self._energy_uws.items()):
                rail = self._names.get(index) or "rail"
                # Rails may be called the same: by index none is lost.
                named[f"{rail}/{index}" if rail in named else rail] = energy
            self.readings.append(RailReading(time_s, counted_ms / 1e3, named))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field of a message; of the fixed ones, the bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in _FIXED_NBYTES:
            length = _FIXED_NBYTES[kind]
        else:
            raise ValueError(f"wire type {kind} at byte {at} is not one of a trace")
        if at + length > len(data):
            raise ValueError(f"field {number} goes {at + length - len(data)} bytes beyond the end")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at
        if shift >= _MOST_VARINT_BITS + 6:
            break
    raise ValueError(f"no whole number ends at byte {at}")


def _integer(value: int | bytes | None) -> int:
    return value if isinstance(value, int) else 0


def _signed(value: int) -> int:
    """An int64 field: two's complement in 64 bits."""
    return value - (1 << 64) if value >> 63 else value
