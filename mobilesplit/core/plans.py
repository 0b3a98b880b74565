"""A job's requirements and the decision for it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mobilesplit.core.documents import Document

Objective = Literal["min_cloud", "min_latency", "min_energy"]

LOSSY_CODECS = frozenset({"fp16", "int8"})
"""Codecs that change the tensors; all others arrive exactly as they were sent."""


class Job(Document):
    """One inference with its requirements."""

    sla_ms: float = Field(gt=0)
    """The latency that is promised."""
    percentile: float = Field(default=0.95, gt=0, lt=1)
    """The share of jobs that must keep it."""
    objective: Objective = "min_cloud"
    """What to minimise among the cuts that keep it."""
    allow_lossy: bool = False
    """Whether codecs that change the tensors (``fp16``, ``int8``) may be chosen."""


class Term(Document):
    """One part of the latency as a distribution, in ms."""

    p50: float
    """Median."""
    p95: float
    """95th percentile."""


class Prediction(Document):
    """What the cost model says of one (cut, codec). Every figure is predicted, none measured."""

    terms: dict[str, Term]
    """prepare, head, encode, uplink, decode, tail, downlink, in that order."""
    total: Term
    """End to end."""
    at_percentile_ms: float
    """The total's quantile that the job asks for."""
    p_within_sla: float = Field(ge=0, le=1)
    """Share of jobs within the SLA."""
    cloud_ms: float
    """Median time that the cloud works on it: decode and tail."""
    device_mj: float | None = None
    """Device energy: head, preparation and radio; None when a part of it is unknown."""
    uplink_bytes: int
    """Payload sent."""


class Rejected(Document):
    """A (cut, codec) that was not chosen, and why."""

    cut: str
    """Cut id."""
    codec: str
    """Codec name."""
    why: str
    """In words."""


class Plan(Document):
    """The decision for a job."""

    cut: str
    """Cut id; the nearest miss when not feasible."""
    codec: str
    """Codec name; ``none`` at ``output``, where nothing is sent."""
    objective: Objective
    """What was minimised."""
    sla_ms: float
    """The job's."""
    percentile: float
    """The job's."""
    feasible: bool
    """Whether the SLA is kept at the percentile."""
    predicted: Prediction
    """Costs of the choice."""
    reason: str
    """The decision in a sentence."""
    rejected: tuple[Rejected, ...]
    """Everything else, in the profile's order."""
