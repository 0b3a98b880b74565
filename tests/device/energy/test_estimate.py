"""The estimator: recovers the modelled energy, and says why where it cannot."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from mobilesplit.device.energy.estimate import (
    EnergyEstimate,
    Origin,
    Work,
    estimate_energy,
    is_tight,
)
from mobilesplit.device.energy.readings import BatteryReading, RailReading, Reading, Window
from tests.device.energy.simulated_gauges import correlated, measure, seeded_case, smoothed

ORIGIN = Origin("battery", "modelled")
BEFORE, LOAD, AFTER = Window(0, 30), Window(30, 75), Window(75.3, 90)
WORK = Work(LOAD, ((30.0, 0), (75.0, 450)))
IDLE_MA, LOAD_MA = 250.0, 650.0
TRUE_MJ = (LOAD_MA - IDLE_MA) * 4.0 * 45 / 450


def gauge(
    shows: Callable[[float, float], float] = lambda ma, noise: -(ma + noise) * 1000,
    *,
    noise_ma: float = 4.0,
    period_s: float = 1.0,
    window_s: float = 1.0,
    seed: int = 0,
) -> list[Reading]:
    """Polled each 0.25 s: 250 mA at idle, 650 mA under load, at 4 V; ``shows`` makes the number
    of the current and the noise."""
    rng = random.Random(seed)
    readings: list[Reading] = []
    refresh = -1
    raw = 0
    for poll in range(int(AFTER.end_s / 0.25) + 1):
        now_s = poll * 0.25
        if int((now_s - 0.1) / period_s) != refresh:
            refresh = int((now_s - 0.1) / period_s)
            end_s = refresh * period_s + 0.1
            loaded_s = max(0.0, min(end_s, LOAD.end_s) - max(end_s - window_s, LOAD.start_s))
            share = min(1.0, loaded_s / window_s)
            current_ma = IDLE_MA + share * (LOAD_MA - IDLE_MA)
            raw = round(shows(current_ma, rng.gauss(0, noise_ma)))
        readings.append(BatteryReading(now_s, raw, 4000.0))
    return readings


def rails(*, load_mw: float = 2600.0, idle_noise_mw: float = 60.0, seed: int = 0) -> list[Reading]:
    """A counter that is read each 0.25 s; its clock started 1000 s before the device's. The idle
    power comes and goes, so that the baseline is not known exactly."""
    rng = random.Random(seed)
    readings: list[Reading] = []
    energy_mj = 0.0
    for poll in range(int(AFTER.end_s / 0.25) + 1):
        now_s = poll * 0.25
        loaded = LOAD.start_s < now_s <= LOAD.end_s
        power_mw = load_mw if loaded else 1000 + rng.gauss(0, idle_noise_mw)
        energy_mj += power_mw * 0.25
        readings.append(RailReading(now_s, now_s + 1000, {"CPU": round(energy_mj * 1000)}))
    return readings


def estimate(readings: list[Reading], origin: Origin = ORIGIN) -> EnergyEstimate:
    return estimate_energy(readings, [BEFORE, AFTER], WORK, origin)


def test_a_hundred_seeded_gauges_are_recovered_within_5_percent_and_covered_in_90() -> None:
    outcomes = [measure(seeded_case(seed)) for seed in range(100)]
    assert [abs(o.error) <= 0.05 for o in outcomes] == [True] * 100
    assert sum(o.covers for o in outcomes) >= 90
    shown = {(o.estimate.current_unit, o.estimate.discharge_sign) for o in outcomes}
    assert shown == {("ua", -1), ("ua", 1), ("ma", -1), ("ma", 1)}


@pytest.mark.parametrize("correlation", [0.5, 0.8])
def test_gauges_whose_errors_resemble_their_neighbours_are_covered_in_90_of_a_hundred(
    correlation: float,
) -> None:
    outcomes = [measure(correlated(seeded_case(seed), correlation)) for seed in range(100)]
    assert sum(o.covers for o in outcomes) >= 90


def test_a_gauge_that_filters_its_current_states_no_more_than_it_knows() -> None:
    outcomes = [measure(smoothed(seeded_case(seed), 0.8)) for seed in range(100)]
    assert sum(o.covers or o.estimate.energy_mj is None for o in outcomes) >= 90


def test_stopping_once_the_interval_is_tight_does_not_cost_its_coverage() -> None:
    outcomes = [measure(seeded_case(seed), stop_early=True) for seed in range(100, 200)]
    assert sum(o.covers for o in outcomes) >= 90


@pytest.mark.parametrize("window_s", [0.1, 1.0, 5.0])
def test_a_gauge_that_averages_for_long_does_not_smear_the_load_into_the_baseline(
    window_s: float,
) -> None:
    found = estimate(gauge(window_s=window_s))
    assert found.verdict == "ok"
    assert found.energy_mj == pytest.approx(TRUE_MJ, rel=0.02)


def test_rails_are_recovered_whatever_their_clock_and_whoever_charges() -> None:
    covered = 0
    for seed in range(100):
        found = estimate(rails(seed=seed), Origin("rails", "measured"))
        assert found.verdict == "ok" and found.energy_valid and not found.why
        assert found.energy_mj == pytest.approx(1600 * 45 / 450, rel=0.02)
        assert found.low_mj is not None and found.high_mj is not None
        covered += found.low_mj <= 160.0 <= found.high_mj
    assert covered >= 90


def test_a_rail_that_feeds_another_makes_the_figure_an_upper_bound() -> None:
    nested = [
        replace(r, energy_uws={"S6M_LLDO1": r.energy_uws["CPU"], "L15M_VDD_SLC_M": i})
        for i, r in enumerate(rails())
        if isinstance(r, RailReading)
    ]
    found = estimate(list(nested), Origin("rails", "measured"))
    assert found.verdict == "ok"
    assert "upper bound" in found.why and "L15M_VDD_SLC_M" in found.why


def test_a_frozen_gauge_is_named_so() -> None:
    still = [replace(reading, current_raw=-250000) for reading in gauge()]
    assert estimate(still).verdict == "frozen_gauge"
    # It worked at idle, then stood still.
    stuck = [
        replace(reading, current_raw=-250000) if reading.time_s >= 29.5 else reading
        for reading in gauge()
    ]
    assert estimate(stuck).verdict == "frozen_gauge"


@pytest.mark.parametrize("still", [Window(29.5, 60), Window(45, 56), Window(62, 90)])
def test_a_gauge_that_stood_still_for_a_part_of_the_load_gives_no_figure(still: Window) -> None:
    readings = gauge()
    stuck = next(r for r in readings if r.time_s >= still.start_s)
    assert isinstance(stuck, BatteryReading)
    stalled = [
        replace(r, current_raw=stuck.current_raw) if still.start_s <= r.time_s < still.end_s else r
        for r in readings
        if isinstance(r, BatteryReading)
    ]
    found = estimate(list(stalled))
    assert found.verdict == "frozen_gauge" and found.energy_mj is None


def test_rails_that_stand_still_are_frozen_as_well() -> None:
    stuck = [
        replace(r, energy_uws={"CPU": 5}) if isinstance(r, RailReading) else r for r in rails()
    ]
    assert estimate(stuck).verdict == "frozen_gauge"


def test_a_gauge_that_refreshes_too_seldom_has_too_few_readings() -> None:
    found = estimate(gauge(period_s=15.0, window_s=1.0))
    assert found.verdict == "too_few_readings" and "15.0 s" in found.why
    assert found.energy_mj is None


def test_a_gauge_that_is_too_coarse_has_too_few_readings() -> None:
    coarse = estimate(gauge(lambda ma, noise: -round((ma + noise) / 80) * 80))
    assert coarse.verdict == "too_few_readings"


def test_a_load_within_the_noise_gives_no_response_and_no_figure() -> None:
    found = estimate(gauge(lambda ma, noise: -(250 + noise) * 1000, noise_ma=20))
    assert found.verdict == "no_response" and found.energy_mj is None
    assert found.idle_mw == pytest.approx(1000, rel=0.05)


def test_a_current_that_falls_under_load_means_that_a_cable_feeds_the_device() -> None:
    # 900 mA from a charger: what the device uses is missing from what flows in.
    fed = gauge(lambda ma, noise: (900 - ma + noise) * 1000)
    assert estimate(fed).verdict == "charging"
    weaker = gauge(lambda ma, noise: -(ma - 500 + noise) * 1000)
    assert estimate(weaker).verdict == "charging"


@pytest.mark.parametrize("raw_per_ma", [0.001, 1e6])
def test_a_number_in_neither_unit_is_not_guessed_at(raw_per_ma: float) -> None:
    odd = gauge(lambda ma, noise: -(ma + noise) * raw_per_ma * 1.01)
    # Thousandths are rounded to whole numbers that still change.
    nudged = [
        replace(r, voltage_mv=4000.0 + i % 7) if isinstance(r, BatteryReading) else r
        for i, r in enumerate(odd)
    ]
    assert estimate(nudged).verdict == "unit_unknown"


def test_a_forced_unit_that_makes_600_watts_is_refused() -> None:
    assert estimate(gauge(), replace(ORIGIN, current_unit="ma")).verdict == "unit_unknown"


def test_a_forced_unit_and_sign_are_believed() -> None:
    odd = gauge(lambda ma, noise: (ma + noise) * 1000)
    forced = replace(ORIGIN, current_unit="ua", discharge_sign=1)
    assert estimate(odd, forced).energy_mj == pytest.approx(TRUE_MJ, rel=0.02)
    wrong = estimate(odd, replace(ORIGIN, discharge_sign=-1))
    assert wrong.verdict == "charging" and "--discharge-sign" in wrong.why


def test_a_restart_is_noticed_by_the_clock_and_by_the_counter() -> None:
    readings = gauge()
    restarted = readings[:200] + [replace(r, time_s=r.time_s - 40) for r in readings[200:]]
    assert estimate(restarted).verdict == "restarted"
    counted = rails()
    counted[200] = RailReading(50.0, 1050.0, {"CPU": 3})
    assert estimate(counted).verdict == "restarted"


def test_other_rails_than_before_are_another_source() -> None:
    readings = rails()
    readings[200] = RailReading(50.0, 1050.0, {"GPU": 10**9})
    assert estimate(readings).verdict == "source_changed"


def test_a_baseline_that_moved_widens_the_interval() -> None:
    def drifting(readings: list[Reading]) -> list[Reading]:
        return [
            replace(r, current_raw=r.current_raw - 60_000)
            if isinstance(r, BatteryReading) and r.time_s > AFTER.start_s
            else r
            for r in readings
        ]

    steady, moved = estimate(gauge()), estimate(drifting(gauge()))
    assert is_tight(steady) and not is_tight(moved)
    assert not is_tight(estimate([]))


def test_inferences_are_counted_in_the_time_that_power_was_read() -> None:
    # Twice as many inferences in the first 20 s, of which the gauge's long average spoils some.
    work = Work(LOAD, ((30.0, 0), (50.0, 400), (75.0, 650)))
    assert work.seconds_each(Window(50.0, 75.0)) == pytest.approx(0.1)
    assert work.seconds_each(Window(40.0, 60.0)) == pytest.approx(20 / 300)
    assert work.seconds_each(Window(0.0, 99.0)) == pytest.approx(45 / 650)


def test_nothing_read_is_too_few() -> None:
    assert estimate([]).verdict == "too_few_readings"


def test_an_estimate_becomes_json() -> None:
    found = estimate(gauge()).as_dict()
    assert found["energy_valid"] is True and found["kind"] == "modelled"
    assert found["low_mj"] < found["energy_mj"] < found["high_mj"]
    assert 60 < found["distinct"] < found["readings"]
