"""Whether a cable feeds the device, from the battery service and the kernel."""

from __future__ import annotations

import pytest

from mobilesplit.device.energy.power_state import parse_power_state

DUMPSYS = """Current Battery Service state:{stopped}
  AC powered: false
  USB powered: {usb}
  Wireless powered: false
  Max charging current: 500000
  Charge counter: 3120000
  status: {status}
  level: 84
  voltage: 4127"""


def output(
    *, usb: str = "false", status: int = 3, stopped: str = "", online: str = "0", kernel: str = ""
) -> str:
    dump = DUMPSYS.format(usb=usb, status=status, stopped=stopped)
    return (
        f"100.25 700.00\n{dump}\nmobilesplit-online\n{online}\nmobilesplit-status\n"
        f"{kernel}\nmobilesplit-end\n100.40 701.00\n"
    )


def test_a_phone_on_its_battery_is_not_fed_and_the_look_has_a_time() -> None:
    state = parse_power_state(output(kernel="Discharging"))
    assert state is not None and not state.is_fed
    assert (state.began_s, state.ended_s) == (100.25, 100.4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (output(usb="true", status=2), "USB powered"),
        (output(usb="true", status=4), "USB powered"),
        (output(status=5), "battery status Full"),
        (output(online="0\n1"), "the kernel sees a charger"),
    ],
)
def test_anything_that_tells_of_a_cable_counts(text: str, said: str) -> None:
    state = parse_power_state(text)
    assert state is not None and said in state.fed_by


def test_dumpsys_battery_unplug_does_not_deceive() -> None:
    stopped = "\n  (UPDATES STOPPED -- use 'reset' to restart)"
    state = parse_power_state(output(stopped=stopped, kernel="Charging"))
    assert state is not None and state.fed_by == ("kernel status Charging",)
    blind = parse_power_state(output(stopped=stopped))
    assert blind is not None and blind.is_fed
    # On a cable at its charge limit, 80 % say.
    full = parse_power_state(output(stopped=stopped, kernel="Not charging"))
    assert full is not None and "Not charging" in full.fed_by[0]
    honest = parse_power_state(output(stopped=stopped, kernel="Discharging"))
    assert honest is not None and not honest.is_fed and honest.overridden


def test_without_the_devices_time_there_is_no_state() -> None:
    assert parse_power_state("sh: cat: not found\n") is None
