"""The energy of heads: measured for some, by the same power predicted for the rest.

A head's power hardly depends on which head it is, its time does; and each measured energy takes a
minute of back-to-back inferences. So as a rule the deepest head is measured and tells the power.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mobilesplit.core.errors import DeviceError, DeviceGoneError
from mobilesplit.core.manifest import BundleCut
from mobilesplit.core.profiles import DeviceFacts, EnergyFigure
from mobilesplit.core.statistics import median
from mobilesplit.device.bench import DirectedBench, Rule
from mobilesplit.device.device import Device
from mobilesplit.device.energy.estimate import EnergyEstimate, Kind, Origin, refuse
from mobilesplit.device.energy.meter import EnergyMeter, Load
from mobilesplit.device.energy.sources import EnergySource, choose, denied, find_sources
from mobilesplit.device.profiling.heads import Head
from mobilesplit.device.profiling.journal import EnergyMeasured, Journal
from mobilesplit.device.profiling.measure import Subject
from mobilesplit.device.profiling.plan import anchor_id

_IDLE_S = 30.0
_MODELLED_IDLE_S = 3.0
"""A model has no background work that a baseline would have to outlast."""
_CHUNK_S = 5.0
"""Of back-to-back inferences, between two looks at whether the interval is tight."""
_LEAST_CHUNKS = 3
_WARM_UP = Rule(1)
_SPARE_S = 120.0
"""For each head: what a runner takes to start, load and run once on a slow device."""

Energy = tuple[float | None, EnergyFigure]
"""mJ of one inference, None where no figure may be stated; and what is known of it."""


def measure_energies(
    subject: Subject,
    journal: Journal,
    facts: DeviceFacts,
    wanted: Sequence[BundleCut],
    *,
    connect: Callable[[], Device],
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Measure the energies of the heads ``wanted`` that the journal lacks.

    ``connect`` gives a second connection, on which the gauge is read meanwhile. A device whose
    energy cannot be had, for whatever reason, leaves a record that says why: the latencies are
    not lost with it.

    Raises:
        DeviceGoneError: the connection was lost; the journal can be resumed.
    """
    missing = [entry for entry in wanted if entry.cut.id not in _done(journal)]
    if subject.settings.energy == "none" or not missing:
        return
    progress("looking for energy sources")
    kind: Kind = "modelled" if facts.emulated else "measured"
    try:
        found = find_sources(subject.device)
    except DeviceGoneError:
        raise
    except DeviceError as error:
        for entry in missing:
            _record(journal, entry, refuse(Origin("", kind), "failed", str(error)))
        return
    source = choose(found, subject.settings.energy)
    if source is None:
        refused = denied(found, kind, subject.settings.energy)
        for entry in missing:
            _record(journal, entry, refused)
        return
    _Metering(subject, connect, source, kind, progress).measure(missing, journal)


class _Metering:
    """One meter around the loads of several heads, with a baseline on both sides of each."""

    def __init__(
        self,
        subject: Subject,
        connect: Callable[[], Device],
        source: EnergySource,
        kind: Kind,
        progress: Callable[[str], None],
    ) -> None:
        self._subject = subject
        self._connect = connect
        self._source = source
        self._kind = kind
        self._progress = progress
        settings = subject.settings
        quick = kind == "modelled" and not source.on_battery
        default_s = _MODELLED_IDLE_S if quick else _IDLE_S
        self._idle_s = default_s if settings.idle_s is None else settings.idle_s
        self._chunk_s = min(_CHUNK_S, settings.load_s / _LEAST_CHUNKS)

    def measure(self, wanted: Sequence[BundleCut], journal: Journal) -> None:
        """Baseline, load, baseline, load, baseline; then the estimates."""
        settings = self._subject.settings
        loads: dict[str, Load] = {}
        failures: dict[str, DeviceError] = {}
        each_s = self._idle_s + settings.load_s + _SPARE_S
        with EnergyMeter(
            self._subject.device,
            self._connect,
            self._source,
            kind=self._kind,
            current_unit=settings.current_unit,
            discharge_sign=settings.discharge_sign,
            longest_s=len(wanted) * each_s + self._idle_s,
            sleep=self._subject.sleep,
        ) as meter:
            # A look costs nothing, and where a cable feeds the battery half a minute is saved.
            meter.baseline(0.0)
            for entry in wanted:
                if not meter.refuses:
                    self._progress(f"energy: idle for {self._idle_s:g} s ({self._source.detail})")
                    meter.baseline(self._idle_s)
                try:
                    loads[entry.cut.id] = self._load(entry, meter)
                except DeviceGoneError:
                    raise
                except DeviceError as error:
                    failures[entry.cut.id] = error
            if not meter.refuses:
                meter.baseline(self._idle_s)
        for entry in wanted:
            if entry.cut.id in loads:
                estimate = meter.estimate(loads[entry.cut.id])
            else:
                origin = Origin(self._source.name, self._kind)
                estimate = refuse(origin, "failed", str(failures[entry.cut.id]))
            _record(journal, entry, estimate, self._source.detail)

    def _load(self, entry: BundleCut, meter: EnergyMeter) -> Load:
        """Back-to-back inferences of a head, until the interval is tight or the time is up."""
        settings, series = self._subject.settings, anchor_id(entry)
        assert entry.method is not None, "plan_heads takes cuts with heads only"
        with DirectedBench(
            self._subject.device,
            self._subject.pushed,
            inputs=self._subject.inputs,
            threads=settings.threads,
            core_mask=settings.core_mask,
        ) as bench:
            bench.load(series, [entry.method])
            bench.run(series, "warmup", _WARM_UP)
            with meter.load() as load:
                if meter.refuses:
                    return load
                until_s = time.monotonic() + settings.load_s
                chunks = 0
                while (
                    time.monotonic() < until_s
                    and not (chunks >= _LEAST_CHUNKS and meter.is_tight(load))
                    and not meter.refuses
                ):
                    self._progress(f"energy of {entry.cut.id}: {load.inferences} inferences")
                    left_s = max(0.0, until_s - time.monotonic())
                    rule = Rule(1, min(self._chunk_s, left_s), settings.load_s)
                    runs = bench.run(series, "energy", rule)
                    load.add(len(runs.latency_ms), runs.elapsed_ms / 1e3)
                    chunks += 1
        return load


def energies_of(
    heads: Mapping[str, Head], records: Sequence[object], *, emulated: bool
) -> dict[str, Energy]:
    """By cut: what was measured, and for the other heads what its power makes of their time."""
    estimates = {r.cut: r.estimate for r in records if isinstance(r, EnergyMeasured)}
    known: dict[str, Energy] = {}
    for cut, estimate in estimates.items():
        basis = "modelled" if emulated else "measured"
        known[cut] = estimate.get("energy_mj"), _figure(estimate, basis, 1.0)
    told = [cut for cut in estimates if known[cut][0] is not None and cut in heads]
    for cut, head in heads.items():
        if cut in known or not estimates:
            continue
        head_ms = median(head.samples_ms)
        if not told:
            known[cut] = None, _figure(next(iter(estimates.values())), "predicted", 1.0)
            continue
        # The head nearest in time: what power depends on besides, they share most of.
        near = min(told, key=lambda name: abs(median(heads[name].samples_ms) - head_ms))
        share = head_ms / median(heads[near].samples_ms)
        energy_mj = known[near][0]
        assert energy_mj is not None
        known[cut] = energy_mj * share, _figure(estimates[near], "predicted", share)
    return known


def _figure(estimate: Mapping[str, Any], basis: str, share: float) -> EnergyFigure:
    low_mj, high_mj = estimate.get("low_mj"), estimate.get("high_mj")
    return EnergyFigure.model_validate(
        {
            "basis": basis,
            "source": estimate["source"],
            "low_mj": None if low_mj is None else low_mj * share,
            "high_mj": None if high_mj is None else high_mj * share,
            "valid": estimate["energy_valid"],
            "verdict": estimate["verdict"],
            "why": estimate["why"],
        }
    )


def _done(journal: Journal) -> set[str]:
    """Cuts whose energy is known; one that was refused is tried again."""
    return {
        r.cut
        for r in journal.records
        if isinstance(r, EnergyMeasured) and r.estimate["energy_valid"]
    }


def _record(journal: Journal, entry: BundleCut, estimate: EnergyEstimate, detail: str = "") -> None:
    known = {**estimate.as_dict(), "detail": detail}
    journal.add(EnergyMeasured(cut=entry.cut.id, estimate=known))
