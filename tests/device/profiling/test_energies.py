"""Whatever fails while energies are measured leaves refusals in the journal, not an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from mobilesplit.core.errors import DeviceError, DeviceGoneError, RunnerError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.bench import Runs
from mobilesplit.device.energy.readings import RailReading
from mobilesplit.device.energy.sources import Available, PolledSource
from mobilesplit.device.profiling import energies
from mobilesplit.device.profiling.energies import measure_energies
from mobilesplit.device.profiling.journal import EnergyMeasured, Header, Journal
from mobilesplit.device.profiling.measure import Subject
from mobilesplit.device.profiling.plan import plan_heads
from mobilesplit.device.profiling.settings import ProfileSettings
from mobilesplit.device.push import Pushed
from tests.device.energy.scripted_device import ScriptedDevice
from tests.device.profiling.bundles import chain_of

LOOK = "9.00 1.00\nmobilesplit-online\nmobilesplit-status\nmobilesplit-end\n9.10 1.00\n"
RAILS = PolledSource("rails", "CPU", False, "cat rails", lambda _: RailReading(9, 9, {}), 0.01)


class Bench:
    """A runner that does what ``runs`` does, whatever it is told."""

    runs: Callable[[], Runs]

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def load(self, *_: Any) -> None:
        pass

    def run(self, *_: Any) -> Runs:
        return Bench.runs()


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    Bench.runs = staticmethod(lambda: Runs([[1.0]], elapsed_ms=1.0))
    monkeypatch.setattr(energies, "DirectedBench", Bench)
    monkeypatch.setattr(energies, "find_sources", lambda _: [Available(RAILS)])


def measured(
    tmp_path: Path, *, connect: Callable[[], Any] = lambda: phone()
) -> list[dict[str, Any]]:
    """The estimates of two heads, one after the other."""
    plan = plan_heads(chain_of(2), one_by_one=True)
    settings = ProfileSettings(idle_s=0.01, load_s=0.01)
    subject = Subject(phone(), Pushed("runner", "program", 0), (), plan, settings)
    header = Header(
        program_sha256="a",
        cuts=tuple(entry.cut.id for entry in plan.cuts),
        device=DeviceFacts(name="d"),
        settings=settings,
        inputs_sha256="b",
    )
    with Journal.start(tmp_path / "journal.jsonl", header) as journal:
        measure_energies(subject, journal, header.device, plan.cuts, connect=connect)
        return [r.estimate for r in journal.records if isinstance(r, EnergyMeasured)]


def phone() -> Any:
    return ScriptedDevice(
        {
            "cat /proc/uptime; dumpsys battery": LOOK,
            "cat rails": "",
            "dumpsys thermalservice": "Thermal Status: 0\n",
            "dumpsys battery": "",
        }
    )


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_a_runner_that_is_killed_leaves_a_refusal_for_each_head(tmp_path: Path) -> None:
    Bench.runs = staticmethod(raising(RunnerError("the runner was killed.")))
    found = measured(tmp_path)
    assert [estimate["verdict"] for estimate in found] == ["failed", "failed"]
    assert all("was killed" in estimate["why"] for estimate in found)
    assert found[0]["source"] == "rails"


def test_sources_that_cannot_be_asked_leave_a_refusal_for_each_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energies, "find_sources", raising(DeviceError("no answer.")))
    assert [estimate["verdict"] for estimate in measured(tmp_path)] == ["failed", "failed"]


@pytest.mark.parametrize("error", [DeviceError("in use."), DeviceGoneError("lost.")])
def test_a_second_connection_that_fails_leaves_a_refusal_for_each_head(
    tmp_path: Path, error: DeviceError
) -> None:
    found = measured(tmp_path, connect=raising(error))
    assert [estimate["verdict"] for estimate in found] == ["denied", "denied"]


def test_a_lost_main_connection_is_an_error_that_can_be_resumed(tmp_path: Path) -> None:
    Bench.runs = staticmethod(raising(DeviceGoneError("lost.")))
    with pytest.raises(DeviceGoneError):
        measured(tmp_path)
