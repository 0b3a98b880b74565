"""What is measured, how often and in what order, on a runner whose times are scripted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from mobilesplit.core.manifest import Manifest
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.bench import LoadedSeries, Part, Rule, Runs
from mobilesplit.device.profiling import measure, throttling
from mobilesplit.device.profiling.heads import count_runs, heads_of
from mobilesplit.device.profiling.journal import Header, Journal, Measured, SessionStarted
from mobilesplit.device.profiling.measure import Subject, measure_heads
from mobilesplit.device.profiling.plan import CHAIN, plan_heads
from mobilesplit.device.profiling.settings import ProfileSettings
from mobilesplit.device.push import Pushed
from mobilesplit.device.thermal import Thermal
from tests.device.profiling.bundles import chain_of

STAGE_MS = 1000.0
"""Each stage takes a second, a head as many as it has stages: time is easily counted."""


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def monotonic(self) -> float:
        return self.s


class ScriptedBench:
    """A runner whose heads take what `STAGE_MS` says, times what ``factor`` says of the session."""

    clock: Clock
    factor: Callable[[int], float] = staticmethod(lambda session: 1.0)
    sessions = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        self._factor = ScriptedBench.factor(ScriptedBench.sessions)
        ScriptedBench.sessions += 1
        self.started: dict[str, Any] = {"runner": "scripted"}
        self.load_ms = 0.0
        self._series: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def load(self, series_id: str, series: Sequence[str]) -> LoadedSeries:
        self._series[series_id] = list(series)
        loaded = sum(len(methods) for methods in self._series.values())
        parts = [Part(name, 1.0, 1.0, 100 + 10 * loaded) for name in series]
        return LoadedSeries(tuple(parts), True)

    def unload(self, series_id: str) -> None:
        del self._series[series_id]

    def run(self, series_id: str, phase: str, rule: Rule) -> Runs:
        times = [self._ms(name) * self._factor for name in self._series[series_id]]
        runs = Runs()
        while len(runs.latency_ms) < rule.min_runs and runs.elapsed_ms / 1e3 <= rule.max_s:
            runs.latency_ms.append(times)
            runs.elapsed_ms += sum(times)
            runs.at_ms.append(runs.elapsed_ms)
        ScriptedBench.clock.s += runs.elapsed_ms / 1e3
        return runs

    @staticmethod
    def _ms(method: str) -> float:
        kind, number = method.split("_")
        return STAGE_MS * (int(number) if kind == "head" else 1)


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> Clock:
    ScriptedBench.clock, ScriptedBench.sessions = Clock(), 0
    monkeypatch.setattr(ScriptedBench, "factor", staticmethod(lambda session: 1.0))
    monkeypatch.setattr(measure, "DirectedBench", ScriptedBench)
    monkeypatch.setattr(measure.time, "monotonic", ScriptedBench.clock.monotonic)
    monkeypatch.setattr(throttling, "read_thermal", lambda _: Thermal(0, 30.0, "skin"))
    return ScriptedBench.clock


def profiled(
    tmp_path: Path, manifest: Manifest, *, one_by_one: bool = False, **more: Any
) -> tuple[Journal, Subject]:
    limits = {key: more.pop(key) for key in ("deadline_s", "depends_on") if key in more}
    quick = {"min_s": 0.0, "max_s": 1e6, "warmup_runs": 0, "precision": 1.0, **more}
    settings = ProfileSettings.model_validate({**quick, "one_by_one": one_by_one})
    plan = plan_heads(manifest, one_by_one=one_by_one)
    device: Any = None
    subject = Subject(device, Pushed("runner", "program", 0), (), plan, settings)
    header = Header(
        program_sha256="a",
        cuts=tuple(entry.cut.id for entry in plan.cuts),
        device=DeviceFacts(name="d"),
        settings=settings,
        inputs_sha256="b",
    )
    journal = Journal.start(tmp_path / "journal.jsonl", header)
    measure_heads(subject, journal, **limits)
    journal.close()
    return journal, subject


def sessions(journal: Journal) -> int:
    return sum(isinstance(r, SessionStarted) for r in journal.records)


def test_every_session_takes_the_same_share(tmp_path: Path) -> None:
    journal, _ = profiled(tmp_path, chain_of(3), min_runs=50, sessions=5)
    assert sessions(journal) == 5
    shares = [count_runs(journal.records, CHAIN, session=n) for n in range(5)]
    assert shares == [10] * 5


def test_where_sessions_differ_more_of_them_are_run_and_no_longer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [1.0, 1.1, 1.0, 1.1]
    monkeypatch.setattr(ScriptedBench, "factor", staticmethod(lambda session: levels[session % 4]))
    journal, subject = profiled(
        tmp_path, chain_of(3), min_runs=40, max_runs=400, sessions=4, precision=0.04
    )
    assert 4 < sessions(journal) < 40
    assert {count_runs(journal.records, CHAIN, session=n) for n in range(sessions(journal))} == {10}
    interval = heads_of(subject.plan, journal.records)["output"].interval()
    assert interval is not None and interval.half_width <= 0.04 * 3150


def test_the_most_seconds_hold_before_the_fewest_samples(tmp_path: Path) -> None:
    journal, _ = profiled(tmp_path, chain_of(3), min_runs=100, sessions=2, max_s=20.0)
    # Passes of 3 s in whole rounds; anchors come on top.
    assert count_runs(journal.records, CHAIN) < 40


def test_one_by_one_the_most_seconds_are_each_heads(tmp_path: Path) -> None:
    journal, _ = profiled(
        tmp_path, chain_of(2), one_by_one=True, min_runs=100, sessions=2, max_s=10.0
    )
    for series, each_s in (("head.1", 1), ("head.2", 2)):
        assert 10 <= count_runs(journal.records, series) * each_s <= 10 + 4 * each_s


@pytest.mark.parametrize("one_by_one", [False, True])
def test_behind_the_deadline_every_head_has_samples_all_the_same(
    tmp_path: Path, one_by_one: bool
) -> None:
    journal, subject = profiled(
        tmp_path, chain_of(4), one_by_one=one_by_one, min_runs=50, deadline_s=5.0
    )
    assert list(heads_of(subject.plan, journal.records)) == ["c1", "c2", "c3", "output"]
    assert sessions(journal) == 1


def test_with_nothing_to_decide_the_fewest_samples_are_enough(tmp_path: Path) -> None:
    journal, _ = profiled(
        tmp_path, chain_of(3), min_runs=20, max_runs=500, precision=1e-9, sessions=2,
        depends_on=lambda _: set(),
    )  # fmt: skip
    assert count_runs(journal.records, CHAIN) == 20


@pytest.mark.parametrize("one_by_one", [False, True])
def test_what_a_plan_could_turn_on_is_measured_on_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_by_one: bool
) -> None:
    monkeypatch.setattr(ScriptedBench, "factor", staticmethod(lambda session: 1 + session % 3 / 9))
    journal, subject = profiled(
        tmp_path, chain_of(9), one_by_one=one_by_one, min_runs=20, max_runs=80, precision=1e-9,
        sessions=2, depends_on=lambda _: {"c7"},
    )  # fmt: skip
    assert count_runs(journal.records, "head.7") >= 8
    anchors = set() if one_by_one else {e.cut.depth for e in subject.plan.anchors}
    others = set(range(1, 10)) - anchors - {7}
    least = 20 if one_by_one else 0
    assert {count_runs(journal.records, f"head.{n}") for n in others} == {least}


def test_a_device_that_is_held_back_is_measured_again_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([Thermal(3, 45.0, "skin")])
    monkeypatch.setattr(throttling, "read_thermal", lambda _: next(looks, Thermal(0, 30.0, "skin")))
    monkeypatch.setattr(throttling, "wait_until_cool", lambda *_, **__: None)
    journal, _ = profiled(tmp_path, chain_of(2), min_runs=24, sessions=1, warmup_runs=2)
    assert count_runs(journal.records, CHAIN) == 24
    chain = [r for r in journal.records if isinstance(r, Measured) and r.series == CHAIN]
    runs = sum(len(r.latency_ms) for r in chain if r.phase == "measure")
    assert runs > 24  # what did not count is in the journal too
    assert [r.phase for r in chain][:3] == ["warmup", "measure", "warmup"]


def test_a_session_that_was_cut_off_is_made_up_for(tmp_path: Path) -> None:
    whole, subject = profiled(tmp_path, chain_of(3), min_runs=30, sessions=3)
    kept = [r for r in whole.records if getattr(r, "session", 0) == 0][:-3]
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)[: 1 + len(kept)]
    path.write_bytes(b"".join(lines))
    with Journal.resume(path, whole.header) as journal:
        measure_heads(subject, journal, deadline_s=math.inf)
        assert count_runs(journal.records, CHAIN) >= 30
        assert [r.session for r in journal.records if isinstance(r, SessionStarted)][1] == 1
        heads = heads_of(subject.plan, journal.records)
    # The head that had been loaded alone before the cut is, and the others are by now.
    assert all(heads[entry.cut.id].peak_alone for entry in subject.plan.anchors)
