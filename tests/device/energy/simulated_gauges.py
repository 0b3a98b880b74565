"""Seeded battery gauges in simulated time: idle, inferences back to back, and the true energy.

The gauge and the power model are the virtual phone's; the clock is a number that this moves.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Literal

from mobilesplit.device.energy.estimate import (
    EnergyEstimate,
    Origin,
    Work,
    estimate_energy,
    is_tight,
)
from mobilesplit.device.energy.readings import BatteryReading, Window
from mobilesplit.emulator.device_description import (
    Battery,
    DeviceDescription,
    GaugeSettings,
    Power,
    load_description,
)
from mobilesplit.emulator.gauge import Gauge, GaugeReading
from mobilesplit.emulator.power_model import PowerModel

IDLE_S, LOAD_S = 30.0, 45.0
LEAST_LOAD_S = 20.0
_POLL_S = 0.25
_CHUNK_S = 5.0
"""From one count of the inferences to the next."""
_PHONES = ("budget-2017", "midrange-2021", "flagship-2024")
_ORIGIN = Origin("battery", "modelled")


@dataclass(frozen=True)
class Case:
    """One seeded gauge and what runs beside it."""

    seed: int
    """Of everything random."""
    phone: str
    """The description that power and battery are from."""
    power: Power
    """Its power model."""
    battery: Battery
    """Its battery."""
    gauge: GaugeSettings
    """Unit, sign, period, window, noise, step."""
    cores: int
    """Busy during an inference."""
    inference_s: float
    """How long one takes, on average."""
    held_up: float
    """Most of the time for which something else has the cores, which comes and goes."""
    held_up_s: float
    """From one such time to the next."""
    correlation: float = 0.0
    """Of the gauge's error with that of the refresh before: AR(1); 0 is white."""
    smoothing: float = 0.0
    """What a refresh keeps of the one before, as a gauge that filters its current does."""


@dataclass(frozen=True)
class Outcome:
    """What the estimator said of a case, beside the truth."""

    true_mj: float
    """Modelled energy of one inference above idle."""
    estimate: EnergyEstimate
    """With its interval."""

    @property
    def error(self) -> float:
        """Of the estimate, as a share of the truth; infinite without a figure."""
        stated = self.estimate.energy_mj
        return float("inf") if stated is None else stated / self.true_mj - 1

    @property
    def covers(self) -> bool:
        """Whether an interval is stated and holds the truth."""
        low, high = self.estimate.low_mj, self.estimate.high_mj
        return low is not None and high is not None and low <= self.true_mj <= high


def seeded_case(seed: int) -> Case:
    """Half in µA and half in mA, either sign, most at 1 Hz, up to twice the declared noise."""
    rng = random.Random(seed)
    description: DeviceDescription = load_description(_PHONES[seed % len(_PHONES)])
    unit: Literal["uA", "mA"] = rng.choice(("uA", "mA"))
    period_s = rng.choice((1.0, 1.0, 1.0, 1.0, 0.5, 2.0))
    gauge = GaugeSettings(
        unit=unit,
        discharge_sign=rng.choice((-1, 1)),
        period_s=period_s,
        window_s=rng.choice((period_s, period_s, 0.2 * period_s)),
        noise_ma=rng.uniform(0.5, 2.0) * description.gauge.noise_ma,
        step_ma=1.0 if unit == "mA" else rng.choice((0.001, 0.15625, 0.25, 1.0)),
        voltage_noise_mv=rng.uniform(0.0, 4.0),
    )
    return Case(
        seed,
        description.name,
        description.power,
        description.battery,
        gauge,
        cores=rng.choice((1, 2, 4)),
        inference_s=rng.uniform(0.02, 0.4),
        held_up=rng.choice((0.0, 0.0, 0.3)),
        held_up_s=rng.uniform(8, 30),
    )


def correlated(case: Case, correlation: float) -> Case:
    """With the same error in size, of which each refresh shares so much with the one before."""
    return replace(case, correlation=correlation)


def smoothed(case: Case, smoothing: float) -> Case:
    """The same gauge behind a filter, as Android's average currents are: signal and error."""
    return replace(case, smoothing=smoothing)


def measure(case: Case, *, stop_early: bool = False) -> Outcome:
    """30 s of idle, 45 s of inferences, 15 s of idle, in simulated time.

    ``stop_early``: the load ends once the interval is tight, and no second baseline follows.
    """
    rng = random.Random(case.seed + 1_000_000)
    phone = _SimulatedPhone(case, rng)
    phone.idle(rng.uniform(2, 5))
    baselines = [Window(phone.now_s, phone.idle(IDLE_S))]
    start_s, busy_s, inferences = phone.now_s, 0.0, 0
    progress = [(start_s, 0)]

    def estimate(end_s: float) -> EnergyEstimate:
        work = Work(Window(start_s, end_s), (*progress, (end_s, inferences)))
        return estimate_energy(phone.readings, baselines, work, _ORIGIN)

    while phone.now_s < start_s + LOAD_S:
        took_s = case.inference_s * rng.uniform(0.95, 1.1)
        phone.infer(took_s)
        held_up = case.held_up * (1 + math.sin(phone.now_s * math.tau / case.held_up_s)) / 2
        phone.idle(rng.uniform(0.0, 0.002) + held_up * took_s)
        busy_s, inferences = busy_s + took_s, inferences + 1
        if phone.now_s > progress[-1][0] + _CHUNK_S:
            if (
                stop_early
                and phone.now_s > start_s + LEAST_LOAD_S
                and is_tight(estimate(phone.now_s))
            ):
                break
            progress.append((phone.now_s, inferences))
    end_s = phone.now_s
    if not stop_early:
        phone.idle(rng.uniform(0.1, 0.5))
        baselines.append(Window(phone.now_s, phone.idle(IDLE_S / 2)))
    true_mj = case.power.active_w_per_core * case.cores * busy_s / inferences * 1e3
    return Outcome(true_mj, estimate(end_s))


class _SimulatedPhone:
    """Power model, gauge, and a poll about every quarter of a second."""

    def __init__(self, case: Case, rng: random.Random) -> None:
        self._case, self._rng = case, rng
        self._model = PowerModel(case.power)
        own = case.gauge
        if case.correlation or case.smoothing:
            # The error and the rounding come after what this adds.
            own = own.model_copy(update={"noise_ma": 0.0, "step_ma": 1e-3, "unit": "uA"})
        self._gauge = Gauge(own, case.battery, seed=case.seed, power_before_w=case.power.idle_w)
        self._error = _Correlated(case, rng) if own is not case.gauge else None
        self.now_s = 100.0
        self._busy_s = 0.0
        self._next_poll_s = self.now_s
        self.readings: list[BatteryReading] = []

    def idle(self, seconds: float) -> float:
        """Let time pass; the time it is then."""
        return self._advance(seconds, cores=0)

    def infer(self, seconds: float) -> None:
        """Keep the cores busy."""
        self._advance(seconds, cores=self._case.cores)

    def _advance(self, seconds: float, cores: int) -> float:
        end_s = self.now_s + seconds
        while self._next_poll_s <= end_s:
            self._pass(self._next_poll_s, cores)
            reading = self._gauge.read(self.now_s, self._model.total_j)
            current_raw = reading.current_raw
            if self._error is not None:
                current_raw = self._error.shown(reading)
            self.readings.append(
                BatteryReading(round(self.now_s, 2), current_raw, reading.voltage_uv / 1e3)
            )
            # A poll goes over adb: it comes when it comes.
            self._next_poll_s += _POLL_S * self._rng.uniform(0.8, 1.4)
        self._pass(end_s, cores)
        return end_s

    def _pass(self, until_s: float, cores: int) -> None:
        self._busy_s += (until_s - self.now_s) * cores
        self.now_s = until_s
        self._model.update(wall_s=self.now_s, busy_s=self._busy_s)
        self._gauge.read(self.now_s, self._model.total_j)


class _Correlated:
    """The error of a gauge whose refreshes resemble their neighbours, put onto one without any."""

    def __init__(self, case: Case, rng: random.Random) -> None:
        self._case, self._rng = case, rng
        self._error_ma = rng.gauss(0.0, case.gauge.noise_ma)
        self._current_ma: float | None = None
        self._refreshed_s: float | None = None
        self._shown = 0

    def shown(self, reading: GaugeReading) -> int:
        """What the gauge shows for an exact ``reading``, in its own unit."""
        if reading.refreshed_s == self._refreshed_s:
            return self._shown
        self._refreshed_s = reading.refreshed_s
        gauge, correlation = self._case.gauge, self._case.correlation
        fresh_ma = self._rng.gauss(0.0, gauge.noise_ma)
        self._error_ma = correlation * self._error_ma + math.sqrt(1 - correlation**2) * fresh_ma
        now_ma = reading.current_raw / 1e3 + self._error_ma
        before_ma = now_ma if self._current_ma is None else self._current_ma
        kept = self._case.smoothing
        self._current_ma = kept * before_ma + (1 - kept) * now_ma
        steps = round(self._current_ma / gauge.step_ma)
        self._shown = round(steps * gauge.step_ma * (1000 if gauge.unit == "uA" else 1))
        return self._shown
