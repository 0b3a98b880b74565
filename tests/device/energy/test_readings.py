"""Text of real gauges: a Pixel's rails, batteries in µA and mA, MediaTek's names."""

from __future__ import annotations

import pytest

from mobilesplit.device.energy.readings import (
    BatteryReading,
    RailReading,
    parse_battery,
    parse_rails,
    rails_fed_by_others,
)

UPTIME = "5402.13 38214.90\n"
PIXEL_MAIN = """t=349894
CH0(T=349894)[S10M_VDD_TPU], 5578756
CH1(T=349890)[VSYS_PWR_MODEM], 29110940
"""
PIXEL_SUB = """t=349871
CH0(T=349871)[VSYS_PWR_DISPLAY], 93942316
CH1(T=349871)[S10M_VDD_TPU], 1
"""
DUMPSYS = """Current Battery Service state:
  AC powered: false
  USB powered: false
  Max charging voltage: 0
  status: 3
  level: 84
  voltage: 4127
  temperature: 254
"""


def test_a_pixels_rails_are_read_by_name_and_those_of_two_chips_stay_apart() -> None:
    reading = parse_rails(UPTIME + PIXEL_MAIN + PIXEL_SUB)
    assert reading == RailReading(
        5402.13,
        349.894,
        {
            "S10M_VDD_TPU": 5578756,
            "VSYS_PWR_MODEM": 29110940,
            "VSYS_PWR_DISPLAY": 93942316,
            "S10M_VDD_TPU/1.CH1": 1,
        },
    )
    assert reading.total_mj == pytest.approx(128632.013)


def test_three_rails_of_one_name_are_three_rails() -> None:
    chips = "".join(f"CH0(T=9)[A], {energy}\nCH1(T=9)[A], 1\n" for energy in (5, 7, 9))
    reading = parse_rails(UPTIME + chips)
    assert reading is not None and sum(reading.energy_uws.values()) == 24
    assert len(reading.energy_uws) == 6


def test_rails_behind_a_linear_regulators_supply_are_told_by_their_names() -> None:
    pixel = ["S2S_VDD_G3D", "S6M_LLDO1", "L15M_VDD_SLC_M", "LCD_BACKLIGHT", "VSYS_PWR_MODEM"]
    assert rails_fed_by_others(pixel) == ["L15M_VDD_SLC_M"]
    # Nobody counts them twice where their supply is not measured.
    assert rails_fed_by_others(pixel[2:]) == []


@pytest.mark.parametrize(
    "text", ["", UPTIME, PIXEL_MAIN, UPTIME + "cat: energy_value: Permission denied\n"]
)
def test_without_a_rail_or_the_devices_time_there_is_no_reading(text: str) -> None:
    assert parse_rails(text) is None


@pytest.mark.parametrize(
    ("shown", "current", "millivolts"),
    [
        pytest.param("-431250\n4127343\n", -431250, 4127.343, id="Pixel: µA, µV"),
        pytest.param("-512\n4127000\n", -512, 4127.0, id="Samsung: mA, µV"),
        pytest.param("3842\n4127\n", 3842, 4127.0, id="MediaTek: mA, batt_vol in mV"),
        pytest.param("287109\n" + DUMPSYS, 287109, 4127.0, id="cmd battery and dumpsys: mV"),
    ],
)
def test_a_batterys_current_keeps_its_sign_and_unit_and_its_voltage_becomes_mv(
    shown: str, current: int, millivolts: float
) -> None:
    assert parse_battery(UPTIME + shown) == BatteryReading(5402.13, current, millivolts)


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param("4127343\n", id="current denied"),
        pytest.param("-431250\n", id="voltage denied"),
        pytest.param("Unknown get option: current_now\n" + DUMPSYS, id="no such option"),
        pytest.param("-431250\n0\n", id="no voltage"),
    ],
)
def test_half_a_reading_of_a_battery_is_none(shown: str) -> None:
    assert parse_battery(UPTIME + shown) is None
