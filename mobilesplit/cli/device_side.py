"""One device measured: gate, heads, energy, operators, into a journal and what comes of it.

`profile` and `demo` share this; it is where the parts of device and client are wired together.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilesplit.cli.console import stderr
from mobilesplit.core.errors import UnknownNameError

if TYPE_CHECKING:
    from mobilesplit.client.samples import Sample
    from mobilesplit.core.manifest import Bundle, BundleCut, Manifest
    from mobilesplit.core.profiles import DeviceFacts
    from mobilesplit.core.results import Array
    from mobilesplit.device.device import Device
    from mobilesplit.device.per_operator import OperatorTime
    from mobilesplit.device.profiling.energies import Energy
    from mobilesplit.device.profiling.heads import Head
    from mobilesplit.device.profiling.journal import Journal
    from mobilesplit.device.profiling.measure import DependsOn
    from mobilesplit.device.profiling.plan import HeadPlan
    from mobilesplit.device.profiling.settings import ProfileSettings
    from mobilesplit.device.push import Pushed

Progress = Callable[[str], None]

_TRACED_RUNS = 20
"""Inferences of a traced head."""
_PREPARE_RUNS = 8
"""Samples of preparing the input."""


@dataclass(frozen=True)
class DeviceSide:
    """What one device gave."""

    facts: DeviceFacts
    """The device."""
    inputs: tuple[Array, ...]
    """What the heads ran on."""
    prepare_ms: list[float]
    """Samples of preparing the photo or text."""
    heads: dict[str, Head]
    """By cut."""
    energies: dict[str, Energy]
    """By cut; empty where nobody asked for them."""
    throttled: bool
    """Whether Android held the device back while samples were taken that count."""
    settings: ProfileSettings
    """How it was measured."""
    provenance: dict[str, Any]
    """The runner, state that was held, temperatures: whatever tells how it was obtained."""
    operators: tuple[OperatorTime, ...] = ()
    """Of the deepest head, where that was asked for."""
    passes: dict[str, Any] = field(default_factory=dict)
    """The stages in order and every pass's raw times; empty where heads were measured alone."""
    remarks: tuple[str, ...] = ()
    """What whoever reads the profile should know."""


@dataclass(frozen=True)
class Limits:
    """When measuring a device ends besides by its settings."""

    deadline_s: float = float("inf")
    """By ``time.monotonic``."""
    depends_on: DependsOn | None = None
    """See `measure_heads`."""
    budget_s: float | None = None
    """What the user gave; for the provenance."""


def measure_device(
    device: Device,
    bundle: Bundle,
    pushed: Pushed,
    sample: Sample,
    *,
    settings: ProfileSettings,
    cut_ids: Sequence[str] | None = None,
    energy_cuts: Sequence[str] | None = None,
    connect: Callable[[], Device],
    journal_path: Path,
    resume: bool = False,
    limits: Limits | None = None,
    per_operator: bool = False,
    stock_runner: bool = False,
    progress: Progress,
    sleep: Callable[[float], None] = time.sleep,
) -> DeviceSide:
    """Measure heads of a bundle on a device, run on ``sample``.

    Whoever calls holds the device (`exclusive`), and pushed while it did.

    Args:
        cut_ids: heads to measure; None: all.
        energy_cuts: heads whose energy is measured; None: the deepest.
        connect: a second connection to the device, for its gauges.
        resume: go on with the journal, or begin one where there is none yet.
        stock_runner: what was pushed is ExecuTorch's executor_runner.
        sleep: how to wait; whoever may have to end it raises from there.

    Raises:
        UsageError, InputFileError: the journal cannot be written, or is of something else.
        UnknownNameError: a cut that the bundle does not have.
        RunnerError: the runner failed.
        DeviceGoneError: the connection was lost; the journal can be resumed.
    """
    from mobilesplit.device.facts import read_facts
    from mobilesplit.device.held_state import held_state
    from mobilesplit.device.profiling.energies import energies_of, measure_energies
    from mobilesplit.device.profiling.heads import heads_of, passes_of
    from mobilesplit.device.profiling.journal import EnergyMeasured
    from mobilesplit.device.profiling.measure import Subject, measure_heads
    from mobilesplit.device.profiling.plan import plan_heads
    from mobilesplit.device.profiling.stock import measure_with_executor_runner
    from mobilesplit.device.profiling.verdicts import was_throttled
    from mobilesplit.device.thermal import wait_until_cool

    limits = limits or Limits()
    facts = read_facts(device)
    inputs, prepare_ms = _inputs(bundle, sample, facts)
    one_by_one = settings.one_by_one or stock_runner
    plan = plan_heads(bundle.manifest, cut_ids, one_by_one=one_by_one)
    remote_inputs = push_inputs(device, inputs)
    with ExitStack() as stack:
        journal = stack.enter_context(
            _journal(journal_path, bundle, plan, facts, settings, inputs, resume=resume)
        )
        provenance: dict[str, Any] = {"journal": journal_path.name}
        not_restored: list[str] = []
        if settings.hold_state:
            held = stack.enter_context(held_state(device, facts.sdk, progress=progress))
            provenance["held_state"] = vars(held)
            not_restored = held.not_restored
        thermal = wait_until_cool(
            device, settings.cool_to_c, settings.cool_max_s, progress=progress, sleep=sleep
        )
        provenance["thermal_before"] = vars(thermal)
        remarks = (
            ()
            if thermal.is_cool(settings.cool_to_c)
            else (f"it was still warm when measuring began: {thermal.describe()}",)
        )
        subject = Subject(device, pushed, tuple(remote_inputs), plan, settings, sleep)
        if stock_runner:
            measure_with_executor_runner(subject, journal, progress=progress)
        else:
            measure_heads(
                subject,
                journal,
                deadline_s=limits.deadline_s,
                depends_on=limits.depends_on,
                progress=progress,
            )
        provenance["runner"] = _last_runner(journal)
        if not stock_runner:
            measured = _named(plan, energy_cuts)
            measure_energies(subject, journal, facts, measured, connect=connect, progress=progress)
        heads = heads_of(plan, journal.records)
        # Of a head that was measured again after a resume, the last.
        energies = {r.cut: r.estimate for r in journal.records if isinstance(r, EnergyMeasured)}
        provenance["energy"] = [{"cut": cut, **known} for cut, known in energies.items()]
        if limits.budget_s is not None:
            provenance["budget_s"] = limits.budget_s
        operators: tuple[OperatorTime, ...] = ()
        if per_operator:
            progress("operators")
            deepest = plan.cuts[-1].method
            assert deepest is not None
            operators = trace_operators(device, pushed, deepest, remote_inputs, settings)
    # Only now is it known whether the device could be restored.
    for what in not_restored:
        stderr.print(f"{device.serial}: {what}", soft_wrap=True, markup=False)
    return DeviceSide(
        facts,
        inputs,
        prepare_ms,
        heads,
        energies_of(heads, journal.records, emulated=facts.emulated),
        was_throttled(journal.records),
        settings,
        provenance,
        operators,
        passes_of(plan, journal.records),
        (*remarks, *(f"the device is not as it was: {what}" for what in not_restored)),
    )


def trace_operators(
    device: Device, pushed: Pushed, method: str, inputs: Sequence[str], settings: ProfileSettings
) -> tuple[OperatorTime, ...]:
    """Where the time of a head goes, operator by operator, from a run with ExecuTorch's trace on.

    Raises:
        RunnerError: the runner cannot trace, or failed.
    """
    import tempfile

    from mobilesplit.device.bench import DirectedBench, Rule
    from mobilesplit.device.per_operator import read_etdump
    from mobilesplit.device.push import REMOTE_FOLDER

    remote = f"{REMOTE_FOLDER}/trace.etdump"
    with DirectedBench(
        device,
        pushed,
        inputs=inputs,
        threads=settings.threads,
        core_mask=settings.core_mask,
        etdump=remote,
    ) as bench:
        bench.load("traced", [method])
        bench.run("traced", "trace", Rule(_TRACED_RUNS))
        bench.finish()
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / "trace.etdump"
        local.write_bytes(device.pull(remote))
        device.check_shell(f"rm -f {remote}")
        return read_etdump(local)


def push_inputs(device: Device, inputs: tuple[Array, ...]) -> list[str]:
    """The inputs as raw element files on the device, as the runner reads them; named by content,
    so that no command overwrites what another one's runner reads."""
    import tempfile

    from mobilesplit.core.results import contiguous
    from mobilesplit.device.push import REMOTE_FOLDER, push_file

    remote = []
    with tempfile.TemporaryDirectory() as scratch:
        for array in inputs:
            data = contiguous(array).tobytes()
            source = Path(scratch) / f"{hashlib.sha256(data).hexdigest()[:16]}.input"
            source.write_bytes(data)
            remote.append(f"{REMOTE_FOLDER}/{source.name}")
            push_file(device, source, remote[-1], mode=0o644)
    return remote


def _named(plan: HeadPlan, cut_ids: Sequence[str] | None) -> list[BundleCut]:
    """Heads of the plan by their cuts; None is the deepest."""
    if cut_ids is None:
        return [plan.cuts[-1]]
    by_id = {entry.cut.id: entry for entry in plan.cuts}
    for cut_id in cut_ids:
        if cut_id not in by_id:
            raise UnknownNameError("cut that is measured", cut_id, by_id)
    return [by_id[cut_id] for cut_id in cut_ids]


def _journal(
    path: Path,
    bundle: Bundle,
    plan: HeadPlan,
    facts: DeviceFacts,
    settings: ProfileSettings,
    inputs: tuple[Array, ...],
    *,
    resume: bool,
) -> Journal:
    from mobilesplit.device.profiling.journal import Header, Journal, has_journal

    digest = hashlib.sha256()
    for array in inputs:
        digest.update(array.tobytes())
    header = Header(
        program_sha256=heads_digest(bundle.manifest),
        cuts=tuple(entry.cut.id for entry in plan.cuts),
        device=facts,
        settings=settings,
        inputs_sha256=digest.hexdigest(),
    )
    if resume and has_journal(path):
        return Journal.resume(path, header)
    journal = Journal.start(path, header)
    if resume:
        said = f"nothing to go on with yet: {path} begins afresh"
        stderr.print(said, soft_wrap=True, markup=False)
    elif journal.kept is not None:
        said = f"what {path.name} had before is kept in {journal.kept.name}"
        stderr.print(said, soft_wrap=True, markup=False)
    return journal


def heads_digest(manifest: Manifest) -> str:
    """Of all that runs on the device: the program, or every TorchScript head."""
    if manifest.program is not None:
        return manifest.sha256[manifest.program]
    scripts = [name for entry in manifest.cuts for name in entry.scripts]
    return hashlib.sha256("".join(manifest.sha256[name] for name in scripts).encode()).hexdigest()


def _last_runner(journal: Journal) -> dict[str, Any]:
    from mobilesplit.device.profiling.journal import SessionStarted

    started = [r.started for r in journal.records if isinstance(r, SessionStarted)]
    return started[-1] if started else {}


def _inputs(
    bundle: Bundle, sample: Sample, facts: DeviceFacts
) -> tuple[tuple[Array, ...], list[float]]:
    """The model's inputs, and samples of preparing them."""
    from mobilesplit.client.device_side import stretched
    from mobilesplit.client.samples import Tensors, input_tensors

    if isinstance(sample, Tensors):
        return sample.arrays, [0.0]
    runs = [
        stretched(lambda: input_tensors(sample, bundle.manifest), facts.general_slowdown)
        for _ in range(_PREPARE_RUNS + 1)
    ]
    return runs[0][0], [sample_ms for _, sample_ms in runs[1:]]
