from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilesplit.emulator.device_description import Power
from mobilesplit.emulator.power_model import PowerModel

POWER = Power(idle_w=1.0, cpu_idle_w=0.1, active_w_per_core=2.0)


def test_energy_is_idle_over_wall_time_plus_active_over_busy_time() -> None:
    model = PowerModel(POWER)
    model.update(wall_s=10.0, busy_s=3.0)
    assert model.cpu_j == pytest.approx(2.0 * 3 + 0.1 * 10)
    assert model.rest_j == pytest.approx(0.9 * 10)
    assert model.total_j == pytest.approx(16.0)


def test_energy_value_is_in_odpm_format_and_microwatt_seconds() -> None:
    model = PowerModel(POWER)
    model.update(wall_s=2.0, busy_s=1.0)
    lines = model.energy_value().decode().splitlines()
    assert lines == [
        "t=2000",
        "CH0(T=2000)[S1M_VDD_CPU], 2200000",
        "CH1(T=2000)[VSYS_PWR_DISPLAY], 1800000",
    ]
    assert all(re.fullmatch(r"CH\d+\(T=\d+\)\[\w+\], \d+", line) for line in lines[1:])


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), max_size=20))
def test_the_counter_never_falls(updates: list[tuple[float, float]]) -> None:
    model, last_j = PowerModel(POWER), 0.0
    for wall_s, busy_s in updates:
        model.update(wall_s=wall_s, busy_s=busy_s)
        assert model.total_j >= last_j
        last_j = model.total_j
