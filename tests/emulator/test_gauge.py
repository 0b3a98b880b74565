"""The gauge in simulated time."""

from __future__ import annotations

from statistics import fmean, stdev

import pytest

from mobilesplit.emulator.device_description import Battery, GaugeSettings
from mobilesplit.emulator.gauge import Gauge, GaugeReading

BATTERY = Battery(capacity_mah=1000, voltage_v=4.0, start_percent=80)
QUIET = GaugeSettings(noise_ma=0.0, voltage_noise_mv=0.0)


def readings(gauge: Gauge, *, power_w: float, seconds: float, every_s: float) -> list[GaugeReading]:
    times = [index * every_s for index in range(1, int(seconds / every_s) + 1)]
    return [gauge.read(now_s, now_s * power_w) for now_s in times]


@pytest.mark.parametrize(
    ("unit", "sign", "shown"),
    [("uA", -1, -250_000), ("uA", 1, 250_000), ("mA", -1, -250), ("mA", 1, 250)],
)
def test_a_watt_at_four_volts_is_shown_in_the_declared_unit_and_sign(
    unit: str, sign: int, shown: int
) -> None:
    settings = QUIET.model_copy(update={"unit": unit, "discharge_sign": sign})
    gauge = Gauge(settings, BATTERY, seed=1, power_before_w=1.0)
    assert {r.current_raw for r in readings(gauge, power_w=1.0, seconds=5, every_s=0.1)} == {shown}


def test_it_shows_one_value_a_period() -> None:
    gauge = Gauge(GaugeSettings(period_s=2.0), BATTERY, seed=3)
    found = readings(gauge, power_w=1.0, seconds=20, every_s=0.1)
    assert len({reading.refreshed_s for reading in found}) in (10, 11)
    assert len(set(found)) == len({reading.refreshed_s for reading in found})


def test_the_same_seed_gives_the_same_readings_however_often_it_is_read() -> None:
    seldom = readings(Gauge(GaugeSettings(), BATTERY, seed=7), power_w=2.0, seconds=30, every_s=1.0)
    often = readings(Gauge(GaugeSettings(), BATTERY, seed=7), power_w=2.0, seconds=30, every_s=0.25)
    # The first window begins before the first read, which is not the same moment.
    assert [r.current_raw for r in seldom[3:]] == [r.current_raw for r in often[3::4][3:]]
    other = readings(Gauge(GaugeSettings(), BATTERY, seed=8), power_w=2.0, seconds=30, every_s=1.0)
    assert seldom != other


def test_the_noise_is_the_declared_one_about_the_true_current() -> None:
    settings = GaugeSettings(noise_ma=10.0, step_ma=0.001)
    found = readings(Gauge(settings, BATTERY, seed=5), power_w=1.0, seconds=2000, every_s=1.0)
    shown_ma = [reading.current_raw / 1000 for reading in found[2:]]
    assert fmean(shown_ma) == pytest.approx(-250, abs=4 * 10 / 2000**0.5)
    assert stdev(shown_ma) == pytest.approx(10, rel=0.1)


def test_a_gauge_that_averages_mixes_a_step_and_one_that_samples_does_not() -> None:
    def shown(window_s: float) -> set[int]:
        settings = QUIET.model_copy(update={"window_s": window_s, "step_ma": 0.001})
        gauge = Gauge(settings, BATTERY, seed=2, power_before_w=1.0)
        found = set()
        for tick in range(1, 101):
            now_s = tick * 0.1
            found.add(gauge.read(now_s, now_s + max(0.0, now_s - 5.0)).current_raw)
        return found

    assert shown(0.01) == {-250_000, -500_000}
    assert len(shown(1.0)) == 3


def test_currents_come_in_steps_and_charge_too() -> None:
    settings = GaugeSettings(step_ma=7.0, charge_step_uah=300)
    for reading in readings(Gauge(settings, BATTERY, seed=1), power_w=1.3, seconds=9, every_s=0.5):
        assert reading.current_raw % 7000 == 0
        assert reading.charge_uah % 300 == 0


def test_charge_level_and_voltage_agree_with_the_energy() -> None:
    gauge = Gauge(QUIET, BATTERY, seed=1)
    for hour_s in (0.0, 1800.0, 3600.0):
        reading = gauge.read(hour_s, hour_s)
    assert reading.charge_uah == pytest.approx(800_000 - 250_000, abs=600)
    assert reading.capacity_percent == 55
    assert reading.voltage_uv == 4_000_000


def test_a_charged_battery_turns_the_sign() -> None:
    gauge = Gauge(QUIET, BATTERY, seed=1, power_before_w=-2.0)
    assert gauge.read(1.0, -2.0).current_raw == 500_000


def test_a_frozen_gauge_shows_its_last_reading_and_goes_on_after() -> None:
    gauge = Gauge(GaugeSettings(), BATTERY, seed=4)
    before = readings(gauge, power_w=1.0, seconds=5, every_s=0.5)[-1]
    gauge.frozen = True
    assert {gauge.read(5.0 + second, 5.0 + second * 3) for second in range(1, 20)} == {before}
    gauge.frozen = False
    assert gauge.read(30.0, 80.0) != before
