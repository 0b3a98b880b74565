"""perfetto as an energy source: a trace in the background, pulled and decoded at its end.

It is how rails are read on phones that hide them from the shell, and costs no poll over adb. The
trace ends by itself when it must be over, should nobody be left to end it.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from mobilesplit.core.errors import DeviceError, DeviceGoneError, first_line
from mobilesplit.device.device import Device
from mobilesplit.device.energy.perfetto import CONFIG, VOLTAGE_COUNTER, decode
from mobilesplit.device.energy.readings import (
    RailReading,
    Reading,
    parse_dumped_voltage_mv,
)

_FOLDER = "/data/misc/perfetto-traces"
"""The only place where perfetto may write and the shell may read (SELinux, Android 10)."""
_TRIAL_S = 2.0
_END_S = 15.0
_SPARE_S = 5.0
"""A trial may start late."""


@dataclass(frozen=True)
class PerfettoSource:
    """`android.power` of perfetto."""

    detail: str
    """Rails by name, or that it is the battery's current."""
    on_battery: bool
    """Whether there are no rails."""
    with_voltage: bool
    """Whether this version can trace the battery's voltage."""
    name: str = "perfetto"
    """As in ``--energy``."""

    def record(self, connect: Callable[[], Device], *, longest_s: float) -> TraceRecording:
        """A recording over a connection of its own."""
        return TraceRecording(connect, with_voltage=self.with_voltage, longest_s=longest_s)


class TraceRecording:
    """One trace; its readings come when it has ended."""

    def __init__(
        self, connect: Callable[[], Device], *, with_voltage: bool, longest_s: float
    ) -> None:
        self._connect = connect
        self._longest_s = longest_s
        self._with_voltage = with_voltage
        self._device: Device | None = None
        self._trace: _Trace | None = None
        self._readings: list[Reading] = []

    @property
    def live(self) -> bool:
        """See `Recording`."""
        return False

    def start(self) -> None:
        """Raises DeviceError where perfetto does not start."""
        self._device = self._connect()
        self._trace = _Trace(
            self._device, with_voltage=self._with_voltage, longest_s=self._longest_s
        )

    def stop(self) -> None:
        """Raises DeviceError where the trace cannot be pulled or is none."""
        device, trace = self._device, self._trace
        self._device = self._trace = None
        if device is not None:
            with device:
                if trace is not None:
                    with trace:
                        self._readings = trace.finish()

    def readings(self) -> list[Reading]:
        """See `Recording`; empty before the end."""
        return self._readings


def find_perfetto(device: Device, *, trial_s: float = _TRIAL_S) -> PerfettoSource | str:
    """The source, after a trial of ``trial_s``; or why there is none, in the device's words.

    Raises:
        DeviceGoneError: the connection was lost.
    """
    why = ""
    for with_voltage in (True, False):
        try:
            with _Trace(device, with_voltage=with_voltage, longest_s=trial_s + _SPARE_S) as trace:
                time.sleep(trial_s)
                readings = trace.finish()
        except DeviceGoneError:
            raise
        except DeviceError as error:
            # An old version refuses the voltage counter: what it says without it counts.
            why = first_line(error.stderr) or error.what
            continue
        if not readings:
            return "its trace holds neither power rails nor the battery's current"
        first = readings[0]
        if isinstance(first, RailReading):
            return PerfettoSource(", ".join(first.energy_uws), False, with_voltage)
        return PerfettoSource("battery current", True, with_voltage)
    return why


class _Trace:
    """A running trace on a device; nothing is left of it once ``with`` is over."""

    def __init__(self, device: Device, *, with_voltage: bool, longest_s: float) -> None:
        self._device = device
        self._voltage_mv = parse_dumped_voltage_mv(device.shell("dumpsys battery").text)
        config = CONFIG % (VOLTAGE_COUNTER if with_voltage else "", longest_s * 1e3)
        self._path = f"{_FOLDER}/mobilesplit-energy.pftrace"
        # The config comes on stdin, for perfetto may not read the shell's own files.
        said = device.check_shell(
            f"rm -f {self._path}; echo {shlex.quote(config)} | "
            f"perfetto --background --txt -c - -o {self._path}"
        )
        words = said.split()
        if not words or not words[-1].isdecimal():
            raise DeviceError(
                "perfetto did not say which process traces.",
                serial=device.serial,
                command="perfetto --background",
                stderr=said,
            )
        self._pid = words[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Why it ends early says more than that it could not be ended.
        with contextlib.suppress(DeviceError):
            self._device.shell(f"kill -INT {self._pid} 2>/dev/null; rm -f {self._path}")

    def finish(self) -> list[Reading]:
        """End it, and read what it holds."""
        device = self._device
        device.shell(f"kill -INT {self._pid}")
        deadline_s = time.monotonic() + _END_S
        while device.shell(f"kill -0 {self._pid}").exit_code == 0:
            if time.monotonic() > deadline_s:
                raise DeviceError(
                    f"perfetto did not end within {_END_S:.0f} s.",
                    serial=device.serial,
                    command=f"kill -INT {self._pid}",
                )
            time.sleep(0.1)
        data = device.pull(self._path)
        try:
            return decode(data, voltage_mv=self._voltage_mv)
        except ValueError as error:
            raise DeviceError(
                f"perfetto's trace cannot be read: {error}.", serial=device.serial
            ) from None
