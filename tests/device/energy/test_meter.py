"""One measurement: marks, charging noticed at either end of a phase, the verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from mobilesplit.core.errors import DeviceError, DeviceGoneError
from mobilesplit.device.device import Device, ShellResult
from mobilesplit.device.energy.meter import EnergyMeter, Load
from mobilesplit.device.energy.readings import RailReading, Reading
from mobilesplit.device.energy.recording import Recording
from tests.device.energy.scripted_device import ScriptedDevice, failing


@dataclass
class Bench:
    """A device, its counter and a clock that only this moves: 1 W at idle, 3 W under load."""

    live: bool = True
    on_battery: bool = False
    name: str = "rails"
    detail: str = ""
    now_s: float = 100.0
    energy_mj: float = 0.0
    usb: str = "false"
    taken: list[Reading] = field(default_factory=list)
    stopped: bool = False
    failure: DeviceError | None = None
    refused: DeviceError | None = None
    broken: DeviceError | None = None
    status: int = 0
    silent: bool = False

    def record(self, connect: Callable[[], Device], *, longest_s: float) -> Recording:
        return self

    def start(self) -> None:
        if self.refused is not None:
            raise self.refused

    def stop(self) -> None:
        self.stopped = True
        if self.failure is not None:
            raise self.failure

    def readings(self) -> list[Reading]:
        if self.broken is not None:
            raise self.broken
        return self.taken if self.live or self.stopped else []

    def advance(self, seconds: float, watts: float = 1.0) -> None:
        for _ in range(round(seconds * 4)):
            self.now_s += 0.25
            self.energy_mj += watts * 250
            counted = {"CPU": round(self.energy_mj * 1000)}
            self.taken.append(RailReading(self.now_s, self.now_s, counted))

    def power_state(self, _: str) -> str | ShellResult:
        if self.silent:
            return failing(1, "cat: /proc/uptime: Permission denied")
        dump = f"  USB powered: {self.usb}\n  status: 3"
        uptime = f"{self.now_s:.2f} {self.now_s:.2f}"
        return (
            f"{uptime}\n{dump}\nmobilesplit-online\nmobilesplit-status\nmobilesplit-end\n{uptime}"
        )

    def meter(self) -> EnergyMeter:
        device = ScriptedDevice(
            {
                "cat /proc/uptime; dumpsys battery": self.power_state,
                "dumpsys thermalservice": lambda _: f"Thermal Status: {self.status}\n",
                "dumpsys battery": "  temperature: 300\n",
            }
        )
        return EnergyMeter(
            device.as_device(),
            device.as_device,
            self,
            kind="modelled",
            sleep=self.advance,
            now_s=lambda: self.now_s - 77,
        )

    def run(self, load: Load, inferences: int, seconds: float) -> None:
        self.advance(seconds, watts=3.0)
        load.add(inferences, seconds)


def test_a_load_between_two_baselines_gives_the_energy_of_one_inference() -> None:
    bench = Bench()
    with bench.meter() as meter:
        meter.baseline(10)
        with meter.load() as load:
            bench.run(load, 50, 5)
            assert meter.estimate(load).energy_mj == pytest.approx(200)
            assert meter.is_tight(load)
            bench.advance(1)  # a pause between two runs belongs to the load
            bench.run(load, 50, 5)
        assert (load.inferences, load.lasted_s) == (100, 11.0)
        meter.baseline(5)
    found = meter.estimate(load)
    assert found.energy_mj == pytest.approx(200) and found.kind == "modelled"
    assert (found.idle_mw, found.source) == (pytest.approx(1000), "rails")


def test_each_load_is_compared_with_the_baselines_on_either_side() -> None:
    bench = Bench()
    with bench.meter() as meter:
        meter.baseline(10)
        with meter.load() as first:
            bench.run(first, 10, 5)
        meter.baseline(10)
        with meter.load() as second:
            bench.run(second, 20, 5)
    assert meter.estimate(first).energy_mj == pytest.approx(1000)
    assert meter.estimate(second).energy_mj == pytest.approx(500)


@pytest.mark.parametrize(("on_battery", "verdict"), [(True, "charging"), (False, "ok")])
def test_a_cable_at_any_time_makes_a_battery_invalid_and_leaves_rails_alone(
    on_battery: bool, verdict: str
) -> None:
    bench = Bench(on_battery=on_battery)
    with bench.meter() as meter:
        meter.baseline(10)
        assert not meter.refuses
        with meter.load() as load:
            bench.run(load, 10, 5)
            bench.usb = "true"
    found = meter.estimate(load)
    assert found.verdict == verdict and meter.refuses == on_battery
    if on_battery:
        assert "USB powered" in found.why and found.energy_mj is None


def test_a_recording_that_shows_nothing_before_its_end_is_never_tight() -> None:
    bench = Bench(live=False)
    with bench.meter() as meter:
        meter.baseline(10)
        with meter.load() as load:
            bench.run(load, 10, 5)
            assert not meter.live and not meter.is_tight(load)
            assert meter.estimate(load).verdict == "too_few_readings"
    assert meter.estimate(load).verdict == "ok"


def test_what_went_wrong_first_is_not_hidden_by_the_end_of_the_recording() -> None:
    bench = Bench(failure=DeviceGoneError("the trace is gone."))
    with pytest.raises(KeyboardInterrupt), bench.meter():
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "bench",
    [
        pytest.param(Bench(failure=DeviceError("it broke.")), id="at its end"),
        pytest.param(Bench(broken=DeviceError("it broke.")), id="while it polls"),
        pytest.param(Bench(broken=DeviceGoneError("it broke.")), id="its connection is lost"),
    ],
)
def test_a_gauge_that_fails_leaves_a_refusal_and_no_error(bench: Bench) -> None:
    with bench.meter() as meter:
        meter.baseline(10)
        with meter.load() as load:
            bench.run(load, 10, 5)
            meter.is_tight(load)
    found = meter.estimate(load)
    assert (found.verdict, found.inferences) == ("failed", 10)
    assert "it broke" in found.why and found.energy_mj is None


def test_a_device_that_shows_no_power_state_any_more_leaves_a_refusal() -> None:
    bench = Bench()
    with bench.meter() as meter:
        meter.baseline(10)
        bench.silent = True
        with meter.load() as load:
            assert meter.refuses
            bench.run(load, 10, 5)
    found = meter.estimate(load)
    assert found.verdict == "failed" and "/proc/uptime" in found.why


@pytest.mark.parametrize(("status", "verdict"), [(0, "ok"), (3, "throttled")])
def test_a_load_that_android_held_back_has_no_energy(status: int, verdict: str) -> None:
    bench = Bench()
    with bench.meter() as meter:
        meter.baseline(10)
        with meter.load() as load:
            bench.run(load, 10, 5)
            bench.status = status
    found = meter.estimate(load)
    assert found.verdict == verdict
    assert status == 0 or "severe" in found.why


def test_a_device_that_takes_one_connection_only_is_denied_and_says_so() -> None:
    bench = Bench(refused=DeviceError("the USB interface is in use."))
    with bench.meter() as meter:
        assert meter.refuses
        with meter.load() as load:
            bench.run(load, 10, 1)
            assert not meter.is_tight(load)
    found = meter.estimate(load)
    assert found.verdict == "denied" and "the USB interface is in use" in found.why


def test_a_main_connection_that_is_lost_is_no_verdict() -> None:
    def gone(_: str) -> str:
        raise DeviceGoneError("gone.")

    device = ScriptedDevice({"cat /proc/uptime; dumpsys battery": gone}).as_device()
    refused = Bench(refused=DeviceGoneError("gone."))
    with (
        pytest.raises(DeviceGoneError),
        EnergyMeter(device, lambda: device, refused, kind="modelled") as meter,
    ):
        assert meter.refuses
        meter.baseline(0)
