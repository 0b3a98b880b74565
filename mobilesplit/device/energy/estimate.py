"""From readings at idle and under load to the energy of one inference. Pure.

Energy = (power under load - power at idle) x time / the inferences that ended in that time. The
interval is Welch's, from one value for each refresh of the gauge (or block of a counter), for the
inferences that ran. It holds what is random about the readings; how true a gauge is, and whether
the device will be the same tomorrow, it cannot know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from mobilesplit.core.statistics import mean, median, std, t_95
from mobilesplit.device.energy.calibration import (
    Calibration,
    CurrentUnit,
    DischargeSign,
    find_sign,
    find_unit,
)
from mobilesplit.device.energy.readings import (
    BatteryReading,
    RailReading,
    Reading,
    Window,
    rails_fed_by_others,
)
from mobilesplit.device.energy.refreshes import (
    Sample,
    changes,
    counted_power,
    counter_shift_s,
    find_period_s,
    neighbours_correlation,
    of_window,
    quantum,
    refreshes,
    settled,
)

Kind = Literal["measured", "modelled"]
EnergyWord = Literal[
    "ok",
    "charging",
    "denied",
    "frozen_gauge",
    "too_few_readings",
    "no_response",
    "unit_unknown",
    "restarted",
    "source_changed",
    "throttled",
    "failed",
]

LEAST_REFRESHES = 8
"""At idle and under load: fewer say too little about their own spread."""
_LEAST_OF_A_WINDOW = 3
"""Of two baselines, each."""
LEAST_DISTINCT = 5
"""Different values under load; a gauge that shows fewer is too coarse or too slow for this."""
FROZEN_S = 10.0
"""Gauges refresh within seconds, and under load none stands still for so long."""
_FROZEN_PERIODS = 3
"""Unless it is a slow one, which may show a value twice."""
_MOST_POWER_MW = 60_000.0
"""No phone draws so much; a number that says so is not in the unit that it seems to be."""
_LONGER = "measure for longer (--idle-s, --load-s)"
_VON_NEUMANN = 2 / 3
"""Degrees of freedom of a variance from neighbours' differences, as a share of the values."""
_LEAST_FREEDOM = 2.0
"""How many values a correlated phase is worth is itself an estimate: below this t explodes."""
_VARIANCE_OF_STEP = 1 / 12
"""Of a rounding error, which is uniform over one step."""


@dataclass(frozen=True)
class Origin:
    """Where the readings come from, and how to read them."""

    source: str
    """Its name: ``rails``, ``battery``."""
    kind: Kind
    """``modelled`` on an emulated device."""
    current_unit: CurrentUnit | None = None
    """Forced unit of a battery's current; None finds it."""
    discharge_sign: DischargeSign | None = None
    """Forced sign; None finds it."""


@dataclass(frozen=True)
class Work:
    """What ran under load."""

    window: Window
    """From before the first to after the last inference."""
    progress: tuple[tuple[float, int], ...]
    """The device's time, and how many inferences had ended by then, 0 first; two or more."""

    @property
    def inferences(self) -> int:
        """How many in all."""
        return self.progress[-1][1]

    def seconds_each(self, covered: Window) -> float:
        """Time per inference within ``covered``, which is what the power was read of: it may lack
        the beginning, where inferences came slower or faster. Between two points they came evenly.
        """
        start_s = max(covered.start_s, self.progress[0][0])
        end_s = min(covered.end_s, self.progress[-1][0])
        return (end_s - start_s) / (self._count_at(end_s) - self._count_at(start_s))

    def _count_at(self, time_s: float) -> float:
        for (s0, n0), (s1, n1) in pairwise(self.progress):
            if s0 <= time_s <= s1:
                return n0 + (n1 - n0) * (time_s - s0) / (s1 - s0)
        raise AssertionError("seconds_each stays within the progress")


@dataclass(frozen=True)
class EnergyEstimate:
    """The energy of one inference above idle, or why there is none."""

    verdict: EnergyWord
    """``ok``, or the reason against a figure."""
    why: str
    """In a sentence with the next step; of ``ok`` what limits the figure, as a rule nothing."""
    source: str
    """Where it was read; empty where nothing could be."""
    kind: Kind
    """A gauge's, or a model's."""
    energy_mj: float | None = None
    """Of one inference; None unless ``ok``."""
    low_mj: float | None = None
    """Lower end of the 95 % interval, never below 0."""
    high_mj: float | None = None
    """Upper end."""
    idle_mw: float | None = None
    """Baseline that was subtracted."""
    load_mw: float | None = None
    """Power while the inferences ran."""
    inferences: int = 0
    """How many there were."""
    readings: int = 0
    """Polls, at idle and under load."""
    distinct: int = 0
    """Among them: values that differ from the one before."""
    period_s: float | None = None
    """From one refresh of a battery gauge to the next, as seen."""
    current_unit: CurrentUnit | None = None
    """Of a battery gauge: found or forced."""
    discharge_sign: DischargeSign | None = None
    """Of a battery gauge: found or forced."""

    @property
    def energy_valid(self) -> bool:
        """Whether a figure is stated."""
        return self.verdict == "ok"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"energy_valid": self.energy_valid, **asdict(self)}


def refuse(origin: Origin, verdict: EnergyWord, why: str, **known: Any) -> EnergyEstimate:
    """No figure; ``known`` are other fields that are known all the same."""
    return EnergyEstimate(verdict, why, origin.source, origin.kind, **known)


def estimate_energy(
    readings: Sequence[Reading], idle: Sequence[Window], work: Work, origin: Origin
) -> EnergyEstimate:
    """The estimate from everything that was read, in order.

    ``idle`` holds one window, or two: before and after the load. With two the baseline is their
    mean, and what they differ by beyond the noise widens the interval.

    Raises:
        ValueError: no inferences or no idle window.
    """
    if work.inferences < 1 or not idle:
        raise ValueError(f"need inferences and an idle window, got {work} and {idle}")
    looked = [
        r for r in readings if any(w.start_s <= r.time_s <= w.end_s for w in _all(idle, work))
    ]
    known: dict[str, Any] = {"inferences": work.inferences, "readings": len(looked)}
    try:
        if any(after.time_s < before.time_s for before, after in pairwise(readings)):
            raise _RefusedError("restarted", "the device's clock ran backwards: it has restarted")
        rails = [r for r in readings if isinstance(r, RailReading)]
        battery = [r for r in readings if isinstance(r, BatteryReading)]
        if rails and not battery:
            *idle_samples, load_sample = _count(rails, idle, work, known)
            rounding, limits = 0.0, _twice_counted(rails[0])
        elif battery and not rails:
            (*idle_samples, load_sample), rounding = _gauge(battery, idle, work, origin, known)
            limits = ""
        else:
            raise _RefusedError("too_few_readings", "nothing was read")
    except _RefusedError as refused:
        return refuse(origin, refused.verdict, refused.why, **known)
    found = _figure(idle_samples, load_sample, rounding, work, origin, known)
    return replace(found, why=limits) if found.energy_valid else found


def is_tight(estimate: EnergyEstimate, relative: float = 0.03) -> bool:
    """Whether the interval's half width is at most this share of the energy: enough was read."""
    if estimate.energy_mj is None or estimate.low_mj is None or estimate.high_mj is None:
        return False
    return (estimate.high_mj - estimate.low_mj) / 2 <= relative * estimate.energy_mj


class _RefusedError(Exception):
    def __init__(self, verdict: EnergyWord, why: str) -> None:
        super().__init__(verdict, why)
        self.verdict: EnergyWord = verdict
        self.why = why


def _all(idle: Sequence[Window], work: Work) -> list[Window]:
    return [*idle, work.window]


def _count(
    rails: Sequence[RailReading], idle: Sequence[Window], work: Work, known: dict[str, Any]
) -> list[Sample]:
    """Power of a counter in each phase, the load last, or `_RefusedError`."""
    for before, after in pairwise(rails):
        if before.energy_uws.keys() != after.energy_uws.keys():
            raise _RefusedError("source_changed", "the device showed other rails than before")
        if after.total_mj < before.total_mj or after.counted_s < before.counted_s:
            raise _RefusedError("restarted", "the counter ran backwards: the device has restarted")
    shift_s = counter_shift_s(rails)
    distinct = [b for a, b in pairwise(rails) if b.total_mj != a.total_mj]
    known["distinct"] = len(distinct)
    _check_awake(distinct, work.window, FROZEN_S)
    samples = [counted_power(rails, window, shift_s) for window in _all(idle, work)]
    complete = [sample for sample in samples if sample is not None]
    if len(complete) < len(samples):
        raise _RefusedError(
            "too_few_readings",
            f"a phase has fewer than 4 readings of the rails; {_LONGER}",
        )
    return complete


def _twice_counted(reading: RailReading) -> str:
    """What nested rails make of the figure; empty where no name tells of any."""
    if not (fed := rails_fed_by_others(reading.energy_uws)):
        return ""
    return f"an upper bound: rails that supply others count what {', '.join(fed)} use once more"


def _gauge(
    battery: Sequence[BatteryReading],
    idle: Sequence[Window],
    work: Work,
    origin: Origin,
    known: dict[str, Any],
) -> tuple[list[Sample], float]:
    """Power by a battery gauge in each phase, the load last, and the variance of its rounding."""
    changed, period_s = changes(battery), find_period_s(battery)
    known["distinct"], known["period_s"] = len(changed), period_s
    _check_awake(changed[1:], work.window, max(FROZEN_S, _FROZEN_PERIODS * (period_s or 0.0)))
    if period_s is None:
        raise _RefusedError("too_few_readings", f"the gauge changed too seldom; {_LONGER}")
    found = refreshes(battery, period_s)
    phases = [of_window(found, window, period_s) for window in _all(idle, work)]
    counts = sum(map(len, phases[:-1])), len(phases[-1])
    if min(counts) < LEAST_REFRESHES or min(map(len, phases)) < _LEAST_OF_A_WINDOW:
        raise _RefusedError(
            "too_few_readings",
            f"the gauge refreshes about every {period_s:.1f} s, which is fewer than "
            f"{LEAST_REFRESHES} times at idle or under load; {_LONGER}",
        )
    load_raw = [refresh.current_raw for refresh in phases[-1]]
    unit = origin.current_unit or find_unit(load_raw)
    if unit is None:
        raise _RefusedError(
            "unit_unknown",
            f"{median(load_raw):g} under load is neither µA nor mA of a phone; "
            "--current-unit forces it, if you know it",
        )
    calibration = Calibration(unit, origin.discharge_sign or find_sign(load_raw))
    known["current_unit"], known["discharge_sign"] = unit, calibration.discharge_sign
    powers = [
        settled(
            [calibration.power_mw(r.current_raw, r.voltage_mv) for r in phase],
            # Work comes before a baseline, idling before the load.
            from_above=phase is not phases[-1],
        )
        for phase in phases
    ]
    _check_direction(powers[:-1], powers[-1], origin)
    different = 1 + sum(a != b for a, b in pairwise(powers[-1]))
    if different < LEAST_DISTINCT:
        raise _RefusedError(
            "too_few_readings",
            f"the gauge showed {different} different values under load, {LEAST_DISTINCT} are the "
            f"least; {_LONGER}",
        )
    step_mw = calibration.power_mw(
        quantum([reading.current_raw for reading in battery]), median([r.voltage_mv for r in found])
    )
    # Noise over a step averages its rounding out, less of it does not.
    rounded = [phase for phase in powers if std(phase) < abs(step_mw)]
    rounding = len(rounded) * step_mw**2 * _VARIANCE_OF_STEP
    samples = []
    for kept, phase in zip(powers, phases, strict=True):
        # What a refresh shows ends when it comes, and began about a period before.
        start_s = phase[len(phase) - len(kept)].time_s - period_s
        samples.append(Sample(tuple(kept), mean(kept), Window(start_s, phase[-1].time_s)))
    return samples, rounding


def _check_direction(
    idle: Sequence[Sequence[float]], load: Sequence[float], origin: Origin
) -> None:
    """A battery that discharges does so at idle as well, and more under load."""
    idle_mw, load_mw = mean([median(phase) for phase in idle]), median(load)
    if max(abs(idle_mw), abs(load_mw)) > _MOST_POWER_MW:
        raise _RefusedError(
            "unit_unknown",
            f"{max(abs(idle_mw), abs(load_mw)) / 1e3:.0f} W is no phone's power; the current is "
            "in another unit",
        )
    spread_mw = 3 * max(std(load), *(std(phase) for phase in idle))
    if idle_mw < 0 or idle_mw - load_mw > spread_mw:
        forced = origin.discharge_sign is not None
        raise _RefusedError(
            "charging",
            "the current flows into the battery or falls under load, as when a cable feeds the "
            "device; unplug it" + (", or turn --discharge-sign round" if forced else ""),
        )


def _figure(
    idle: Sequence[Sample],
    load: Sample,
    rounding: float,
    work: Work,
    origin: Origin,
    known: dict[str, Any],
) -> EnergyEstimate:
    idle_mw, load_mw = mean([sample.mean for sample in idle]), load.mean
    wander = neighbours_correlation([sample.values for sample in idle])
    # Values that resemble their neighbours at idle tell of the gauge, so they do under load too.
    shared = 0.0 if load.is_exact else wander
    # Per mean: its variance, and the degrees of freedom that it is known with.
    parts = [(load.variance_as_it_was(shared), _VON_NEUMANN * load.worth(shared))]
    parts += [(s.variance_elsewhen(wander) / len(idle) ** 2, s.worth(wander) - 1) for s in idle]
    variance = math.fsum(part for part, _ in parts)
    weights = math.fsum(part**2 / max(_LEAST_FREEDOM, freedom) for part, freedom in parts)
    t = t_95(max(_LEAST_FREEDOM, variance**2 / weights if weights else 0.0))
    half_mw = t * math.sqrt(variance + rounding + _drift_variance(idle, wander))
    known |= {"idle_mw": idle_mw, "load_mw": load_mw}
    above_mw = load_mw - idle_mw
    if above_mw <= half_mw:
        return refuse(
            origin,
            "no_response",
            f"the load's {load_mw:.0f} mW do not stand out from {idle_mw:.0f} mW at idle "
            f"(difference known to within {half_mw:.0f} mW); {_LONGER}",
            **known,
        )
    mj_per_mw = work.seconds_each(load.covered)
    return EnergyEstimate(
        "ok",
        "",
        origin.source,
        origin.kind,
        energy_mj=above_mw * mj_per_mw,
        low_mj=(above_mw - half_mw) * mj_per_mw,
        high_mj=(above_mw + half_mw) * mj_per_mw,
        **known,
    )


def _drift_variance(idle: Sequence[Sample], correlation: float) -> float:
    """Of the baseline while nobody looked, from two that differ by more than their noise: it may
    have been anything between them."""
    if len(idle) < 2:
        return 0.0
    differ = abs(idle[0].mean - idle[-1].mean)
    noise = math.sqrt(sum(idle[at].variance_elsewhen(correlation) for at in (0, -1)))
    return differ**2 * _VARIANCE_OF_STEP if differ > 2 * noise else 0.0


def _check_awake(changed: Sequence[Reading], load: Window, limit_s: float) -> None:
    """What stood still for so long under load was not looking, whatever it showed later."""
    times = [r.time_s for r in changed if load.start_s <= r.time_s <= load.end_s]
    still_s = max(b - a for a, b in pairwise([load.start_s, *times, load.end_s]))
    if still_s >= limit_s:
        raise _RefusedError(
            "frozen_gauge",
            f"it did not change for {still_s:.0f} s of load; use another source, or restart the "
            "device",
        )
