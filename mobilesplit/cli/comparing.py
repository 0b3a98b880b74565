"""Runs a plan and its alternatives side by side: the same sample, phone, link and server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mobilesplit.cli.outputs import top_classes

if TYPE_CHECKING:
    from mobilesplit.client.samples import Sample
    from mobilesplit.client.split_job import JobOutcome, SplitClient
    from mobilesplit.core.comparison import MeasuredRun, ModeResult
    from mobilesplit.core.links import Link
    from mobilesplit.core.plans import Job
    from mobilesplit.core.profiles import Profile
    from mobilesplit.core.results import Array
    from mobilesplit.schedule.cost import Candidate

JOBS_PER_MODE = 4
WARMUP_JOBS = 1

Mode = Literal["planned", "best split", "device-only", "cloud-only"]


@dataclass(frozen=True)
class Bench:
    """What every mode is run on, and compared with."""

    client: SplitClient
    profile: Profile
    link: Link
    job: Job
    sample: Sample
    labels: str | None
    whole: Array
    """The unsplit model's output for the sample."""

    def run(
        self, mode: Mode, cut: str, codec: str, *, progress: Callable[[str], None]
    ) -> ModeResult:
        """Run a mode once to warm up and `JOBS_PER_MODE` times for the record."""
        import numpy as np

        from mobilesplit.core.comparison import ModeResult
        from mobilesplit.schedule.cost import Candidate, predict

        outcomes: list[JobOutcome] = []
        for index in range(WARMUP_JOBS + JOBS_PER_MODE):
            progress(f"{mode}: job {index + 1} of {WARMUP_JOBS + JOBS_PER_MODE}")
            outcomes.append(self.client.run(self.sample, cut_id=cut, codec=codec))
        kept = outcomes[WARMUP_JOBS:]
        prediction = predict(
            self.profile, Candidate(self.profile.find(cut), codec), self.link, self.job
        )
        output = outcomes[-1].outputs[0]
        return ModeResult(
            mode=mode,
            cut=cut,
            codec=codec,
            runs=tuple(_measured(outcome) for outcome in kept),
            predicted_p50_ms=prediction.total.p50,
            predicted_p95_ms=prediction.total.p95,
            uplink_bytes=kept[-1].uplink_bytes,
            device_mj=prediction.device_mj,
            top=top_classes(output, self.labels),
            max_logit_difference=float(np.max(np.abs(output - self.whole))),
            fell_back=next((o.fell_back for o in outcomes if o.fell_back), None),
        )

    def alternatives(
        self, planned: ModeResult, *, progress: Callable[[str], None]
    ) -> list[ModeResult]:
        """Device-only and cloud-only, each in its best form, and a split if none was planned."""
        from mobilesplit.core.cuts import INPUT, OUTPUT
        from mobilesplit.schedule.cost import NO_CODEC

        results = []
        splits = self._lossless(lambda cut_id: cut_id not in (INPUT, OUTPUT))
        if planned.cut in (INPUT, OUTPUT) and splits:
            split = self._quickest(splits)
            results.append(self.run("best split", split.cut.id, split.codec, progress=progress))
        results.append(self.run("device-only", OUTPUT, NO_CODEC, progress=progress))
        cloud = self._quickest(self._lossless(lambda cut_id: cut_id == INPUT))
        results.append(self.run("cloud-only", cloud.cut.id, cloud.codec, progress=progress))
        return results

    def _lossless(self, wanted: Callable[[str], bool]) -> list[Candidate]:
        from mobilesplit.core.plans import LOSSY_CODECS
        from mobilesplit.schedule.cost import candidates

        return [
            candidate
            for candidate in candidates(self.profile)
            if wanted(candidate.cut.id) and candidate.codec not in LOSSY_CODECS
        ]

    def _quickest(self, offered: list[Candidate]) -> Candidate:
        """The one with the lowest latency at the job's percentile, predicted."""
        from mobilesplit.schedule.cost import predict

        return min(
            offered,
            key=lambda candidate: (
                predict(self.profile, candidate, self.link, self.job).at_percentile_ms
            ),
        )


def _measured(outcome: JobOutcome) -> MeasuredRun:
    from mobilesplit.core.comparison import MeasuredRun

    return MeasuredRun(
        prepare_ms=outcome.prepare_ms,
        head_ms=outcome.head_ms,
        encode_ms=outcome.encode_ms,
        network_ms=outcome.network_ms,
        tail_ms=outcome.tail_ms,
        cloud_ms=outcome.cloud_ms,
        total_ms=outcome.total_ms,
        adb_ms=outcome.adb_ms,
    )
