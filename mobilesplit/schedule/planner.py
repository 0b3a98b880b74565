"""The planner: for a job, the candidate that costs least among those that keep the SLA.

Pure: profile, link and job in, plan out. Infeasible is an answer, with the nearest miss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mobilesplit.core.cuts import INPUT, OUTPUT
from mobilesplit.core.errors import UsageError
from mobilesplit.core.links import Link
from mobilesplit.core.plans import LOSSY_CODECS, Job, Plan, Prediction, Rejected
from mobilesplit.core.profiles import Profile
from mobilesplit.schedule.cost import Candidate, candidates, predict

_AIM = {
    "min_cloud": "cloud time",
    "min_latency": "latency",
    "min_energy": "device energy",
}


@dataclass(frozen=True)
class Scored:
    """A candidate with what the cost model says of it."""

    candidate: Candidate
    prediction: Prediction

    @property
    def label(self) -> str:
        """``cut (codec)`` for sentences."""
        return f"{self.candidate.cut.id} ({self.candidate.codec})"


def make_plan(profile: Profile, link: Link, job: Job) -> Plan:
    """Choose cut and codec for a job.

    Raises:
        UsageError: the objective needs energies that the profile does not have.
    """
    allowed, rejected_lossy = [], []
    for candidate in candidates(profile):
        if candidate.codec in LOSSY_CODECS and not job.allow_lossy:
            rejected_lossy.append(candidate)
        else:
            allowed.append(Scored(candidate, predict(profile, candidate, link, job)))
    if not allowed:
        raise UsageError(
            "every codec of the profile changes the tensors.",
            next_step="Allow it with --allow-lossy.",
        )
    if job.objective == "min_energy" and any(s.prediction.device_mj is None for s in allowed):
        raise UsageError(
            "the profile or the link has no energy figures, so min_energy cannot be judged.",
            next_step="Use --objective min_cloud or min_latency, or a link with a radio model.",
        )
    keeping = [scored for scored in allowed if keeps_sla(scored.prediction, job)]
    best = (
        min(keeping, key=lambda scored: _cost(scored.prediction, job))
        if keeping
        else min(allowed, key=lambda scored: scored.prediction.at_percentile_ms)
    )
    rejected = [
        Rejected(
            cut=scored.candidate.cut.id,
            codec=scored.candidate.codec,
            why=_why_not(scored, best, job),
        )
        for scored in allowed
        if scored is not best
    ] + [
        Rejected(
            cut=candidate.cut.id, codec=candidate.codec, why="changes the tensors (not allowed)"
        )
        for candidate in rejected_lossy
    ]
    return Plan(
        cut=best.candidate.cut.id,
        codec=best.candidate.codec,
        objective=job.objective,
        sla_ms=job.sla_ms,
        percentile=job.percentile,
        feasible=bool(keeping),
        predicted=best.prediction,
        reason=_reason(best, keeping, allowed, job),
        rejected=tuple(rejected),
    )


def keeps_sla(prediction: Prediction, job: Job) -> bool:
    """Whether the total's quantile at the job's percentile is within the SLA."""
    return prediction.at_percentile_ms <= job.sla_ms


def _cost(prediction: Prediction, job: Job) -> tuple[float, float]:
    """What is minimised, and latency between equals."""
    if job.objective == "min_latency":
        return (prediction.at_percentile_ms, prediction.cloud_ms)
    if job.objective == "min_energy":
        assert prediction.device_mj is not None
        return (prediction.device_mj, prediction.at_percentile_ms)
    return (prediction.cloud_ms, prediction.at_percentile_ms)


def _shown_cost(prediction: Prediction, job: Job) -> str:
    value, _ = _cost(prediction, job)
    return f"{value:.1f} mJ" if job.objective == "min_energy" else f"{value:.1f} ms"


def _quantile(job: Job) -> str:
    return f"p{job.percentile * 100:g}"


def _why_not(scored: Scored, best: Scored, job: Job) -> str:
    prediction = scored.prediction
    if not keeps_sla(prediction, job):
        return (
            f"predicted {_quantile(job)} {prediction.at_percentile_ms:.0f} ms"
            f" is over the SLA of {job.sla_ms:g} ms"
        )
    return (
        f"keeps the SLA but needs {_shown_cost(prediction, job)} of {_AIM[job.objective]},"
        f" the choice {_shown_cost(best.prediction, job)}"
    )


def _reason(best: Scored, keeping: list[Scored], allowed: list[Scored], job: Job) -> str:
    name = _quantile(job)
    at_ms = best.prediction.at_percentile_ms
    if not keeping:
        return (
            f"No candidate keeps {name} within {job.sla_ms:g} ms; the nearest is {best.label} at"
            f" {at_ms:.0f} ms predicted. Relax the SLA to {at_ms:.0f} ms, or use a faster link."
        )
    text = (
        f"{best.label} needs the least {_AIM[job.objective]}"
        f" ({_shown_cost(best.prediction, job)} predicted) of the {len(keeping)} of {len(allowed)}"
        f" candidates that keep {name} within {job.sla_ms:g} ms (its own: {at_ms:.0f} ms)."
    )
    return text + _ends(best, allowed, job) + _few_samples(best, job)


def _few_samples(best: Scored, job: Job) -> str:
    """A warning where the head has too few samples to show the percentile at all."""
    count, needed = len(best.candidate.cut.head_ms), math.ceil(1 / (1 - job.percentile))
    if best.candidate.cut.id == INPUT or count >= needed:
        return ""
    return (
        f" The choice's {_quantile(job)} rests on {count} samples of its head;"
        f" {needed} would show it."
    )


def _ends(best: Scored, allowed: list[Scored], job: Job) -> str:
    """How the two ends, device-only and cloud-only at its best, compare with the choice."""
    text = ""
    device_only = [s for s in allowed if s.candidate.cut.id == OUTPUT and s is not best]
    cloud_only = [s for s in allowed if s.candidate.cut.id == INPUT and s is not best]
    for name, ends in (("Device-only", device_only), ("Cloud-only", cloud_only)):
        if ends:
            nearest = min(ends, key=lambda s: s.prediction.at_percentile_ms)
            verdict = _why_not(nearest, best, job)
            text += f" {name}{'' if name == 'Device-only' else f' ({nearest.candidate.codec})'}:"
            text += f" {verdict}."
    if best.candidate.cut.id in (INPUT, OUTPUT):
        text += " Splitting does not pay here."
    return text
