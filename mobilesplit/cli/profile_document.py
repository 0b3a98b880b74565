"""The profile document, from what a device and a server gave."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mobilesplit.cli.device_side import DeviceSide, heads_digest
from mobilesplit.core.statistics import median

if TYPE_CHECKING:
    from mobilesplit.cli.cloud_side import CloudSide
    from mobilesplit.core.links import Link
    from mobilesplit.core.manifest import Bundle, BundleCut
    from mobilesplit.core.plans import Job
    from mobilesplit.core.profiles import CutProfile, Profile
    from mobilesplit.device.profiling.energies import Energy
    from mobilesplit.device.profiling.heads import Head
    from mobilesplit.device.profiling.measure import DependsOn


def make_profile(side: DeviceSide, cloud: CloudSide, bundle: Bundle) -> Profile:
    """The profile document: what the device gave, and what the server gave of its tails."""
    from mobilesplit.core.cuts import INPUT
    from mobilesplit.core.profiles import SCHEMA, CloudFacts, Profile
    from mobilesplit.device.profiling.verdicts import judge_profile

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
    judged = {cut.id: cut.verdict for cut in cuts if cut.verdict is not None}
    return Profile(
        schema_=SCHEMA,
        model=bundle.manifest.model,
        device=side.facts,
        cloud=CloudFacts(name=cloud.name),
        cuts=tuple(cuts),
        verdict=judge_profile(judged, side.remarks),
        prepare_ms=tuple(side.prepare_ms),
        prepare_energy_mj=_prepare_mj(side),
        output_bytes=sum(spec.nbytes for spec in bundle.manifest.outputs),
        provenance={
            **side.provenance,
            "settings": side.settings.model_dump(exclude_none=True),
            "bundle_program_sha256": heads_digest(bundle.manifest),
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
            **({"passes": side.passes} if side.passes else {}),
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
        head_ms_from=None if head is None else "one_pass" if head.correction else "alone",
        tail_ms={"1": cloud.tails.tail_ms.get(entry.cut.id, (0.0,))},
        head_energy_mj=0.0 if head is None else energy[0] if energy else None,
        energy=energy[1] if energy else None,
        head_peak_bytes=head.peak_bytes if head else None,
        verdict=judge_head(head, throttled=throttled) if head else None,
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
