"""`mobilesplit profile`: heads on the device, tails on the server, into one profile document."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilesplit.cli import options
from mobilesplit.cli.children import Child
from mobilesplit.cli.console import print_json, print_table, single_step, stderr, write_file
from mobilesplit.cli.device_choice import choose_serial
from mobilesplit.cli.samples import choose_sample

if TYPE_CHECKING:
    from mobilesplit.client.connection import CloudConnection
    from mobilesplit.client.samples import Photo, Sample
    from mobilesplit.core.manifest import Bundle, BundleCut
    from mobilesplit.core.profiles import CodecCost, CutProfile, DeviceFacts, Profile
    from mobilesplit.core.results import Array
    from mobilesplit.device.adb import AdbDevice
    from mobilesplit.device.profile_heads import HeadMeasurement, HeadsMeasured
    from mobilesplit.device.push import Pushed
    from mobilesplit.device.runner import BenchSettings
    from mobilesplit.wire.messages import TailProfile

_SIDE_SAMPLES = 8
"""Samples of the small things: preparing the input, encoding a boundary."""


def profile(
    bundle: options.Bundle,
    out: Annotated[Path, typer.Option("--out", "-o", help="The profile document.")] = Path(
        "profile.json"
    ),
    serial: options.Serial = None,
    cloud: options.Cloud = None,
    image: options.Image = None,
    text: options.Text = None,
    min_runs: Annotated[int, typer.Option(min=1, help="Fewest samples of a head.")] = 10,
    min_s: Annotated[float, typer.Option(min=0, help="Least seconds on a head.")] = 1.0,
    max_s: Annotated[float, typer.Option(min=0.1, help="Most seconds on a head.")] = 30.0,
    warmup_runs: Annotated[int, typer.Option(min=0, help="Inferences before any counts.")] = 3,
    threads: options.Threads = 1,
    as_json: options.Json = False,
) -> None:
    """Measure every head of a bundle on a device, and every tail.

    Without --cloud a server is started here, on loopback, for the tails.
    """
    from mobilesplit.client.connection import CloudConnection
    from mobilesplit.device.adb import AdbDevice
    from mobilesplit.device.push import push_bundle
    from mobilesplit.device.runner import BenchSettings
    from mobilesplit.device.runner_build import build_host_runner
    from mobilesplit.export.bundle import load_bundle
    from mobilesplit.report.tables import cuts_table

    loaded = load_bundle(bundle)
    sample = choose_sample(loaded, image, text)
    settings = BenchSettings(
        warmup_runs=warmup_runs, min_runs=min_runs, min_s=min_s, max_s=max_s, threads=threads
    )
    with ExitStack() as stack:
        step = stack.enter_context(single_step("profile", quiet=as_json))
        device = stack.enter_context(AdbDevice.connect(choose_serial(serial)))
        step.note("building the runner")
        pushed = push_bundle(device, loaded, build_host_runner().path, progress=step.note)
        if cloud is None:
            step.note("starting a server for the tails")
            cloud = stack.enter_context(tail_server(bundle)).ready()["url"]
        connection = stack.enter_context(CloudConnection.open(cloud, loaded.manifest.model))
        side = measure_device(device, loaded, pushed, sample, settings=settings, progress=step.note)
        step.note("tails")
        made = with_cloud(side, loaded, connection, sample)
    write_file(out, made.save())
    if as_json:
        print_json(made.save())
        return
    table = cuts_table(made)
    print_table(table.title, table.columns, table.rows)
    stderr.print(f"wrote {out}")


def tail_server(bundle: Path, *, wait: bool = False) -> Child:
    """A server for the bundle's tails on a free port of loopback, ending with us.

    ``wait``: it touches the bundle only after `Child.go`.
    """
    arguments = ["serve", str(bundle), "--port", "0", "--json", "--exit-with-parent"]
    arguments += ["--runs", "10"]
    return Child("the server", ["mobilesplit", *arguments, *(["--wait"] if wait else [])])


@dataclass(frozen=True)
class DeviceSide:
    """What one pass over a device gave."""

    facts: DeviceFacts
    """The device."""
    inputs: tuple[Array, ...]
    """What the heads ran on."""
    prepare_ms: list[float]
    """Samples of preparing the photo or text."""
    heads: HeadsMeasured
    """Every head."""
    settings: BenchSettings
    """How it was measured."""


def measure_device(
    device: AdbDevice,
    bundle: Bundle,
    pushed: Pushed,
    sample: Sample,
    *,
    settings: BenchSettings,
    progress: Callable[[str], None],
) -> DeviceSide:
    """Measure every head on the device, run on ``sample``."""
    from mobilesplit.device.facts import read_facts
    from mobilesplit.device.profile_heads import measure_heads

    facts = read_facts(device)
    inputs, prepare_ms = _inputs(bundle, sample, facts)
    heads = measure_heads(
        device,
        pushed,
        bundle.manifest,
        inputs,
        settings=settings,
        progress=lambda cut, done, total: progress(f"head {done + 1} of {total}: {cut}"),
    )
    return DeviceSide(facts, inputs, prepare_ms, heads, settings)


def with_cloud(
    side: DeviceSide, bundle: Bundle, connection: CloudConnection, sample: Sample
) -> Profile:
    """The profile document: the device's side, and what the server measured of its tails.

    ``connection`` is best without a slow link: only the tails' and codecs' times count.
    """
    from mobilesplit.core.profiles import SCHEMA, CloudFacts, Profile
    from mobilesplit.core.statistics import median
    from mobilesplit.device.push import program_name

    tails = connection.tail_profile()
    heads = side.heads.heads
    cuts = [
        _cut_profile(
            entry,
            heads.get(entry.cut.id),
            tails,
            _codecs(bundle, entry, heads.get(entry.cut.id), connection, tails, sample, side.facts),
        )
        for entry in bundle.manifest.cuts
    ]
    deepest = heads[cuts[-1].id]
    power_mw = (
        None if deepest.energy_mj is None else deepest.energy_mj / median(deepest.latency_ms) * 1e3
    )
    return Profile(
        schema_=SCHEMA,
        model=bundle.manifest.model,
        device=side.facts,
        cloud=CloudFacts(name=f"{connection.welcome.server} at {connection.url}"),
        cuts=tuple(cuts),
        prepare_ms=tuple(side.prepare_ms),
        # Modelled: the same power as for a head. Of a real phone it stays unknown, since it is
        # this computer that prepares the sample.
        prepare_energy_mj=(
            power_mw * median(side.prepare_ms) / 1e3
            if power_mw is not None and side.facts.emulated
            else None
        ),
        output_bytes=sum(spec.nbytes for spec in bundle.manifest.outputs),
        provenance={
            "runner": side.heads.started,
            "settings": vars(side.settings),
            "bundle_program_sha256": bundle.manifest.sha256[program_name(bundle.manifest)],
            "encoded_by_the_runner": {
                cut: list(head.encode_ms) for cut, head in heads.items() if head.encode_ms
            },
            "energy": _energy_note(side.facts, side.heads.idle_mw),
            "idle_mw": side.heads.idle_mw,
            "warmup_ms": {cut: head.warmup_ms for cut, head in heads.items()},
            "first_ms": {cut: head.first_ms for cut, head in heads.items()},
            "load_ms": {cut: head.load_ms for cut, head in heads.items()},
            "host": {"cores": os.cpu_count(), "machine": platform.machine()},
            "versions": bundle.manifest.versions,
        },
    )


def _energy_note(facts: DeviceFacts, idle_mw: float | None) -> str:
    if idle_mw is None:
        return "unknown: the device shows no power rails"
    kind = "modelled by the virtual phone" if facts.emulated else "measured"
    return f"{kind}, read from its power rails, idle draw subtracted"


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
    head: HeadMeasurement | None,
    connection: CloudConnection,
    tails: TailProfile,
    sample: Sample,
    facts: DeviceFacts,
) -> dict[str, CodecCost]:
    """Bytes, encode and decode samples of every codec that the server takes at a cut.

    What the program encodes was measured with the head; the rest is encoded here.
    """
    import numpy as np

    from mobilesplit.client.device_side import stretched
    from mobilesplit.client.samples import Photo
    from mobilesplit.core.profiles import CodecCost
    from mobilesplit.wire.codecs import encode, expected_blobs

    boundary, preprocess = entry.cut.boundary, bundle.manifest.preprocess
    names = connection.welcome.codecs.get(entry.cut.id, ())
    costs = {}
    for name in names:
        decode_ms = tails.decode_ms[entry.cut.id][name]
        if name == "original":
            if isinstance(sample, Photo):
                costs[name] = _original(connection, entry, sample)
            continue
        specs = expected_blobs(name, boundary, preprocess)
        if head is not None and name in head.encode_ms:
            samples = head.encode_ms[name]
        else:
            tensors = tuple(np.zeros(spec.shape, spec.dtype) for spec in
                            (specs if name == "uint8" else boundary))  # fmt: skip
            samples = [
                stretched(lambda n=name, t=tensors: encode(n, t, boundary, preprocess),  # type: ignore[misc]
                          facts.general_slowdown)[1]
                for _ in range(_SIDE_SAMPLES)
            ]  # fmt: skip
        costs[name] = CodecCost(
            bytes=sum(spec.nbytes for spec in specs),
            encode_ms=tuple(samples),
            decode_ms=decode_ms,
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
    head: HeadMeasurement | None,
    tails: TailProfile,
    codecs: dict[str, CodecCost],
) -> CutProfile:
    from mobilesplit.core.profiles import CutProfile

    return CutProfile(
        id=entry.cut.id,
        depth=entry.cut.depth,
        boundary=entry.cut.boundary,
        codecs=codecs,
        # Nothing runs in front of `input`, and nothing behind `output`.
        head_ms=tuple(head.latency_ms) if head else (0.0,),
        tail_ms={"1": tails.tail_ms.get(entry.cut.id, (0.0,))},
        head_energy_mj=head.energy_mj if head else 0.0,
        head_peak_bytes=head.peak_bytes if head else None,
    )
