"""One device and one server measured, and the profile document that comes of it.

`profile` and `demo` share this; it is where device, client and server are wired together.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilesplit.cli.children import Child
from mobilesplit.core.errors import UnknownNameError
from mobilesplit.core.statistics import median

if TYPE_CHECKING:
    from mobilesplit.client.connection import CloudConnection
    from mobilesplit.client.samples import Photo, Sample
    from mobilesplit.core.links import Link
    from mobilesplit.core.manifest import Bundle, BundleCut, Manifest
    from mobilesplit.core.plans import Job
    from mobilesplit.core.profiles import CodecCost, CutProfile, DeviceFacts, Profile
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
    from mobilesplit.wire.messages import TailProfile

Progress = Callable[[str], None]

_TRACED_RUNS = 20
"""Inferences of a traced head."""
_SIDE_SAMPLES = 8
"""Samples of the small things: preparing the input, encoding a boundary."""


def tail_server(bundle: Path, *, wait: bool = False) -> Child:
    """A server for the bundle's tails on a free port of loopback, ending with us.

    ``wait``: it touches the bundle only after `Child.go`.
    """
    arguments = ["serve", str(bundle), "--port", "0", "--json", "--exit-with-parent"]
    arguments += ["--runs", "10"]
    return Child("the server", ["mobilesplit", *arguments, *(["--wait"] if wait else [])])


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


@dataclass(frozen=True)
class CloudSide:
    """What one server gave."""

    name: str
    """Its name and address."""
    tails: TailProfile
    """Its tails and decoders."""
    codecs: dict[str, dict[str, CodecCost]]
    """By cut and codec, encoded on this computer in place of the phone's app."""


@dataclass(frozen=True)
class Limits:
    """When measuring a device ends besides by its settings."""

    deadline_s: float = float("inf")
    """By ``time.monotonic``."""
    depends_on: DependsOn | None = None
    """See `measure_heads`."""


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
) -> DeviceSide:
    """Measure heads of a bundle on a device, run on ``sample``.

    Args:
        cut_ids: heads to measure; None: all.
        energy_cuts: heads whose energy is measured; None: the deepest.
        connect: a second connection to the device, for its gauges.
        stock_runner: what was pushed is ExecuTorch's executor_runner.

    Raises:
        UsageError, InputFileError: the journal cannot be written, or is of something else.
        UnknownNameError: a cut that the bundle does not have.
        RunnerError: the runner failed.
        DeviceGoneError: the connection was lost; the journal can be resumed.
    """
    from mobilesplit.device.exclusive import exclusive
    from mobilesplit.device.facts import read_facts
    from mobilesplit.device.held_state import held_state
    from mobilesplit.device.profiling.energies import energies_of, measure_energies
    from mobilesplit.device.profiling.heads import heads_of
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
        stack.enter_context(exclusive(facts))
        journal = stack.enter_context(
            _journal(journal_path, bundle, plan, facts, settings, inputs, resume=resume)
        )
        provenance: dict[str, Any] = {"journal": journal_path.name}
        if settings.hold_state:
            held = stack.enter_context(held_state(device, facts.sdk, progress=progress))
            provenance["held_state"] = vars(held)
        thermal = wait_until_cool(
            device, settings.cool_to_c, settings.cool_max_s, progress=progress
        )
        provenance["thermal_before"] = vars(thermal)
        subject = Subject(device, pushed, tuple(remote_inputs), plan, settings)
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
        provenance["energy"] = [
            {"cut": r.cut, **r.estimate} for r in journal.records if isinstance(r, EnergyMeasured)
        ]
        operators: tuple[OperatorTime, ...] = ()
        if per_operator:
            progress("operators")
            deepest = plan.cuts[-1].method
            assert deepest is not None
            operators = trace_operators(device, pushed, deepest, remote_inputs, settings)
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


def measure_cloud(
    bundle: Bundle, connection: CloudConnection, sample: Sample, facts: DeviceFacts
) -> CloudSide:
    """The tails' and codecs' times.

    ``connection`` is best without a slow link: only the server's own clock counts.
    """
    tails = connection.tail_profile()
    return CloudSide(
        name=f"{connection.welcome.server} at {connection.url}",
        tails=tails,
        codecs={
            entry.cut.id: _codecs(bundle, entry, connection, tails, sample, facts)
            for entry in bundle.manifest.cuts
        },
    )


def make_profile(side: DeviceSide, cloud: CloudSide, bundle: Bundle) -> Profile:
    """The profile document: what the device gave, and what the server gave of its tails."""
    from mobilesplit.core.cuts import INPUT
    from mobilesplit.core.profiles import SCHEMA, CloudFacts, Profile

    heads = side.heads
    cuts = [
        _cut_profile(
            entry,
            heads.get(entry.cut.id),
            side.energies.get(entry.cut.id),
            cloud,
            throttled=side.throttled,
        )
        for entry in bundle.manifest.cuts
        if entry.cut.id == INPUT or entry.cut.id in heads
    ]
    return Profile(
        schema_=SCHEMA,
        model=bundle.manifest.model,
        device=side.facts,
        cloud=CloudFacts(name=cloud.name),
        cuts=tuple(cuts),
        prepare_ms=tuple(side.prepare_ms),
        prepare_energy_mj=_prepare_mj(side),
        output_bytes=sum(spec.nbytes for spec in bundle.manifest.outputs),
        provenance={
            **side.provenance,
            "settings": side.settings.model_dump(exclude_none=True),
            "bundle_program_sha256": _heads_digest(bundle.manifest),
            "encoded_by_the_runner": {
                entry.cut.id: [
                    codec
                    for codec, encoder in entry.encoders.items()
                    if entry.cut.id in heads and encoder.method in heads[entry.cut.id].encode_ms
                ]
                for entry in bundle.manifest.cuts
                if entry.encoders
            },
            "corrections": {
                cut: vars(head.correction) for cut, head in heads.items() if head.correction
            },
            "alone_ms": {cut: head.alone_ms for cut, head in heads.items() if head.alone_ms},
            "warmup_ms": {cut: head.warmup_ms for cut, head in heads.items()},
            "first_ms": {cut: head.first_ms for cut, head in heads.items()},
            "load_ms": {cut: head.load_ms for cut, head in heads.items()},
            **({"operators": [vars(row) for row in side.operators]} if side.operators else {}),
            "peak_measured_alone": [cut for cut, head in heads.items() if head.peak_alone],
            "host": {"cores": os.cpu_count(), "machine": platform.machine()},
            "versions": bundle.manifest.versions,
        },
    )


def _prepare_mj(side: DeviceSide) -> float | None:
    """Modelled: the power of the deepest head. Of a real phone it stays unknown, since it is this
    computer that prepares the sample."""
    if not side.facts.emulated or not side.heads:
        return None
    cut, head = list(side.heads.items())[-1]
    energy_mj = side.energies[cut][0] if cut in side.energies else None
    if energy_mj is None:
        return None
    return energy_mj / median(head.samples_ms) * median(side.prepare_ms)


def turning_points(
    side_so_far: Callable[[dict[str, Head]], Profile], scenarios: Sequence[tuple[Link, Job]]
) -> DependsOn:
    """Names the cuts that a plan for one of the scenarios could turn on."""
    from mobilesplit.schedule.contenders import contenders

    def named(heads: dict[str, Head]) -> set[str]:
        intervals = {cut: head.interval() for cut, head in heads.items()}
        half_widths = {
            cut: interval.half_width for cut, interval in intervals.items() if interval is not None
        }
        return contenders(side_so_far(heads), half_widths, scenarios)

    return named


def _named(plan: HeadPlan, cut_ids: Sequence[str] | None) -> list[BundleCut]:
    """Heads of the plan by their cuts; None is the deepest."""
    if cut_ids is None:
        return [plan.cuts[-1]]
    by_id = {entry.cut.id: entry for entry in plan.cuts}
    for cut_id in cut_ids:
        if cut_id not in by_id:
            raise UnknownNameError("cut that is measured", cut_id, by_id)
    return [by_id[cut_id] for cut_id in cut_ids]


def push_inputs(device: Device, inputs: tuple[Array, ...]) -> list[str]:
    """The inputs as raw element files on the device, as the runner reads them."""
    import tempfile

    from mobilesplit.core.results import contiguous
    from mobilesplit.device.push import REMOTE_FOLDER, push_file

    remote = []
    with tempfile.TemporaryDirectory() as scratch:
        for index, array in enumerate(inputs):
            source = Path(scratch) / f"input{index}.bin"
            source.write_bytes(contiguous(array).tobytes())
            remote.append(f"{REMOTE_FOLDER}/{source.name}")
            push_file(device, source, remote[-1], mode=0o644)
    return remote


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
    from mobilesplit.device.profiling.journal import Header, Journal

    digest = hashlib.sha256()
    for array in inputs:
        digest.update(array.tobytes())
    header = Header(
        program_sha256=_heads_digest(bundle.manifest),
        cuts=tuple(entry.cut.id for entry in plan.cuts),
        device=facts,
        settings=settings,
        inputs_sha256=digest.hexdigest(),
    )
    return Journal.resume(path, header) if resume else Journal.start(path, header)


def _heads_digest(manifest: Manifest) -> str:
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
        for _ in range(_SIDE_SAMPLES + 1)
    ]
    return runs[0][0], [sample_ms for _, sample_ms in runs[1:]]


def _codecs(
    bundle: Bundle,
    entry: BundleCut,
    connection: CloudConnection,
    tails: TailProfile,
    sample: Sample,
    facts: DeviceFacts,
) -> dict[str, CodecCost]:
    """Bytes, encode and decode samples of every codec that the server takes at a cut."""
    import numpy as np

    from mobilesplit.client.device_side import stretched
    from mobilesplit.client.samples import Photo
    from mobilesplit.core.profiles import CodecCost
    from mobilesplit.wire.codecs import encode, expected_blobs

    boundary, preprocess = entry.cut.boundary, bundle.manifest.preprocess
    costs = {}
    for name in connection.welcome.codecs.get(entry.cut.id, ()):
        if name == "original":
            if isinstance(sample, Photo):
                costs[name] = _original(connection, entry, sample)
            continue
        specs = expected_blobs(name, boundary, preprocess)
        taken = specs if name == "uint8" else boundary
        tensors = tuple(np.zeros(spec.shape, spec.dtype) for spec in taken)
        samples = [
            stretched(
                lambda n=name, t=tensors: encode(n, t, boundary, preprocess),  # type: ignore[misc]
                facts.general_slowdown,
            )[1]
            for _ in range(_SIDE_SAMPLES)
        ]
        costs[name] = CodecCost(
            bytes=sum(spec.nbytes for spec in specs),
            encode_ms=tuple(samples),
            decode_ms=tails.decode_ms[entry.cut.id][name],
        )
    # At `output` nothing is sent; the document asks for a codec all the same.
    return costs or {"raw": CodecCost(bytes=entry.cut.boundary_nbytes)}


def _original(connection: CloudConnection, entry: BundleCut, photo: Photo) -> CodecCost:
    """What this very photo costs the server to decode and prepare, by its own clock."""
    import numpy as np

    from mobilesplit.core.profiles import CodecCost
    from mobilesplit.wire.frames import Blob

    blob = Blob("photo", np.frombuffer(photo.data, np.uint8))
    answers = [
        connection.run_tail(entry.cut.id, "original", (blob,)) for _ in range(_SIDE_SAMPLES + 1)
    ]
    return CodecCost(
        bytes=len(photo.data), decode_ms=tuple(answer.decode_ms for answer in answers[1:])
    )


def _cut_profile(
    entry: BundleCut,
    head: Head | None,
    energy: Energy | None,
    cloud: CloudSide,
    *,
    throttled: bool,
) -> CutProfile:
    from mobilesplit.core.profiles import CutProfile
    from mobilesplit.device.profiling.verdicts import judge_head

    codecs = dict(cloud.codecs[entry.cut.id])
    for codec, encoder in entry.encoders.items():
        # What the program encodes was measured with the head, by the runner's clock.
        samples = head.encode_ms.get(encoder.method) if head else None
        if samples and codec in codecs:
            codecs[codec] = codecs[codec].model_copy(update={"encode_ms": tuple(samples)})
    return CutProfile(
        id=entry.cut.id,
        depth=entry.cut.depth,
        boundary=entry.cut.boundary,
        codecs=codecs,
        # Nothing runs in front of `input`, and nothing behind `output`.
        head_ms=tuple(head.samples_ms) if head else (0.0,),
        tail_ms={"1": cloud.tails.tail_ms.get(entry.cut.id, (0.0,))},
        head_energy_mj=0.0 if head is None else energy[0] if energy else None,
        energy=energy[1] if energy else None,
        head_peak_bytes=head.peak_bytes if head else None,
        verdict=judge_head(head, throttled=throttled) if head else None,
    )
