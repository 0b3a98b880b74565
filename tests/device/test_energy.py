"""Energy above idle from cumulative rails."""

from __future__ import annotations

import pytest

from mobilesplit.core.errors import DeviceGoneError
from mobilesplit.device.energy import RailReading, energy_above_idle_mj, parse_rails, power_mw

PIXEL = """t=349894
CH0(T=349894)[S10M_VDD_TPU], 5578756
CH1(T=349890)[VSYS_PWR_MODEM], 29110940
"""


def test_a_pixels_rails_are_read_by_name() -> None:
    reading = parse_rails(PIXEL)
    assert reading == RailReading(349894, {"S10M_VDD_TPU": 5578756, "VSYS_PWR_MODEM": 29110940})
    assert reading.total_mj == pytest.approx(34689.696)


def test_a_file_without_rails_is_none() -> None:
    assert parse_rails("cat: Permission denied") is None


def test_the_idle_draw_is_subtracted_and_the_rest_shared_by_the_runs() -> None:
    before = RailReading(1000, {"CPU": 0})
    after = RailReading(3000, {"CPU": 5_000_000})
    assert power_mw(before, after) == 2500
    assert energy_above_idle_mj(before, after, idle_mw=500, runs=10) == 400
    assert energy_above_idle_mj(before, after, idle_mw=9000, runs=10) == 0


def test_a_counter_that_ran_backwards_is_a_restart() -> None:
    with pytest.raises(DeviceGoneError, match="restarted"):
        power_mw(RailReading(3000, {"CPU": 5}), RailReading(1000, {"CPU": 9}))
