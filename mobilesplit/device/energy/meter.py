"""One measurement: a recording, marks of what the device did when, and estimates from both.

    with EnergyMeter(device, connect, source, kind=...) as meter:
        meter.baseline(30)
        with meter.load() as load:
            runs = bench.run(...)
            load.add(len(runs.latency_ms), runs.elapsed_ms / 1e3)
        meter.baseline(15)
    estimate = meter.estimate(load)

Marks are made on the main connection between runs, in the device's own time, by a look at its
power state: charging is noticed at either end of every phase. What fails here leaves a refusal:
latencies measured before are worth more than an energy. Only a main connection that is lost is an
error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Self, TypeVar

from mobilesplit.core.errors import DeviceError, DeviceGoneError
from mobilesplit.device.device import Device
from mobilesplit.device.energy.calibration import CurrentUnit, DischargeSign
from mobilesplit.device.energy.estimate import (
    EnergyEstimate,
    Kind,
    Origin,
    Work,
    estimate_energy,
    is_tight,
    refuse,
)
from mobilesplit.device.energy.power_state import PowerState, read_power_state
from mobilesplit.device.energy.readings import Reading, Window
from mobilesplit.device.energy.sources import EnergySource
from mobilesplit.device.thermal import Thermal, read_thermal

T = TypeVar("T")


class Load:
    """Inferences under the meter's eyes."""

    def __init__(self, started_s: float, now_s: Callable[[], float]) -> None:
        self.started_s = started_s
        """The device's time before the first."""
        self.ended_s: float | None = None
        """And after the last; None while they run."""
        self.thermal: Thermal | None = None
        """How hot the device was at the end; None where nobody could tell."""
        self._now_s = now_s
        self._ahead_s = started_s - now_s()
        self._progress: list[tuple[float, int]] = []

    def add(self, inferences: int, elapsed_s: float) -> None:
        """Count inferences that have just ended and took ``elapsed_s`` together."""
        now_s = self._now_s() + self._ahead_s
        if not self._progress:
            self._progress.append((now_s - elapsed_s, 0))
        self._progress.append((now_s, self.inferences + inferences))

    @property
    def inferences(self) -> int:
        """So far."""
        return self._progress[-1][1] if self._progress else 0

    @property
    def lasted_s(self) -> float:
        """From the start of the first to the end of the last inference."""
        return self._progress[-1][0] - self._progress[0][0] if self._progress else 0.0

    @property
    def progress(self) -> tuple[tuple[float, int], ...]:
        """The device's time, and how many inferences had ended by then."""
        return tuple(self._progress)


class EnergyMeter:
    """Records a source while it is entered. For the thread that ``device`` belongs to."""

    def __init__(
        self,
        device: Device,
        connect: Callable[[], Device],
        source: EnergySource,
        *,
        kind: Kind,
        current_unit: CurrentUnit | None = None,
        discharge_sign: DischargeSign | None = None,
        longest_s: float = 3600.0,
        sleep: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``device`` is asked between runs; ``connect`` makes the recording's own connection.
        ``current_unit`` and ``discharge_sign`` force what is otherwise found out. ``longest_s``:
        by then the measurement is over, or has been given up."""
        self._device = device
        self._source = source
        self._recording = source.record(connect, longest_s=longest_s)
        self._origin = Origin(source.name, kind, current_unit, discharge_sign)
        self._sleep = sleep
        self._now_s = now_s
        self._baselines: list[Window] = []
        self._states: list[PowerState] = []
        self._refusal: EnergyEstimate | None = None

    def __enter__(self) -> Self:
        try:
            self._recording.start()
        except DeviceError as error:
            # A phone on a cable without an adb server takes one connection only: latency can
            # still be had of it. Whether it is gone altogether, the main connection tells.
            needs = f"{self._source.name} needs a connection of its own: {error}"
            self._refusal = refuse(self._origin, "denied", needs)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._recording.stop()
        except DeviceError as error:
            self._fail(error)

    @property
    def live(self) -> bool:
        """Whether estimates can be had before the end, so that measuring can stop early."""
        return self._recording.live

    @property
    def refuses(self) -> bool:
        """Whether no figure can come of it any more: a cable feeds the battery that is watched,
        or something has failed."""
        fed = self._source.on_battery and any(state.is_fed for state in self._states)
        return fed or self._refusal is not None

    def baseline(self, seconds: float) -> None:
        """Wait while the device idles. Before the load, and better after it as well."""
        began = self._look()
        self._sleep(seconds)
        ended = self._look()
        if began is not None and ended is not None:
            self._baselines.append(Window(began.ended_s, ended.began_s))

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Around the inferences."""
        began = self._look()
        load = Load(0.0 if began is None else began.ended_s, self._now_s)
        yield load
        ended = self._look()
        if ended is not None:
            load.ended_s = ended.began_s
            load.thermal = self._or_fail(lambda: read_thermal(self._device))

    def estimate(self, load: Load) -> EnergyEstimate:
        """The energy of one inference of ``load``, also while it runs if the meter is ``live``.

        Raises:
            ValueError: no baseline, or no inferences yet.
        """
        readings: list[Reading] = []
        try:
            readings = self.readings()
        except DeviceError as error:
            # Also where its connection is lost: it is not the main one.
            self._fail(error)
        if self._refusal is not None:
            return replace(self._refusal, inferences=load.inferences, readings=len(readings))
        fed = [state for state in self._states if state.is_fed]
        if self._source.on_battery and fed:
            lie = "; `dumpsys battery` is overridden, see `dumpsys battery reset`"
            return refuse(
                self._origin,
                "charging",
                f"{', '.join(fed[0].fed_by)}: the battery's current is not what the device uses; "
                "unplug it (adb over Wi-Fi) or use rails"
                + (lie if any(state.overridden for state in fed) else ""),
                inferences=load.inferences,
                readings=len(readings),
            )
        if load.thermal is not None and load.thermal.throttled:
            return refuse(
                self._origin,
                "throttled",
                f"Android held the device back at the end of the load ({load.thermal.describe()}): "
                "it is another energy than in use; let it cool down, or shorten --load-s",
                inferences=load.inferences,
                readings=len(readings),
            )
        if not readings:
            return refuse(
                self._origin, "too_few_readings", "nothing was read", inferences=load.inferences
            )
        end_s = readings[-1].time_s if load.ended_s is None else load.ended_s
        work = Work(Window(load.started_s, end_s), load.progress)
        return estimate_energy(readings, self._near(work.window), work, self._origin)

    def readings(self) -> list[Reading]:
        """Everything that was read so far, raw. Raises DeviceError where recording has failed."""
        return self._recording.readings()

    @property
    def baselines(self) -> tuple[Window, ...]:
        """When the device idled, by its own time."""
        return tuple(self._baselines)

    def is_tight(self, load: Load, relative: float = 0.03) -> bool:
        """Whether enough was read of a load that still runs; never where the meter is not live."""
        if not self.live or load.inferences < 1 or not self._baselines:
            return False
        return is_tight(self.estimate(load), relative)

    def _near(self, load: Window) -> list[Window]:
        """The last baseline before a load and the first one after it."""
        before = [window for window in self._baselines if window.end_s <= load.start_s]
        after = [window for window in self._baselines if window.start_s >= load.end_s]
        return before[-1:] + after[:1]

    def _look(self) -> PowerState | None:
        """None where the device does not tell, after which the meter refuses."""
        state = self._or_fail(lambda: read_power_state(self._device))
        if state is not None:
            self._states.append(state)
        return state

    def _or_fail(self, ask: Callable[[], T]) -> T | None:
        """What ``ask`` gives on the main connection; None, and a refusal, where it fails."""
        try:
            return ask()
        except DeviceGoneError:
            raise
        except DeviceError as error:
            self._fail(error)
            return None

    def _fail(self, error: DeviceError) -> None:
        # The first failure is the reason, later ones follow from it.
        self._refusal = self._refusal or refuse(self._origin, "failed", str(error))
