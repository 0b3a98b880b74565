"""The demo document: a plan, what was run to check it, and its alternatives in their best form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mobilesplit.core.documents import Document
from mobilesplit.core.links import Link
from mobilesplit.core.plans import Plan
from mobilesplit.core.profiles import Profile

SCHEMA: Literal["mobilesplit.demo/1"] = "mobilesplit.demo/1"

Ms = Annotated[float, Field(ge=0)]


class TopClass(Document):
    """One of the classes with the highest score."""

    index: int
    """Position in the output."""
    label: str
    """Its name."""
    score: float
    """Logit."""


class MeasuredRun(Document):
    """One job that ran: where its time went, in ms."""

    prepare_ms: Ms
    """Photo to input tensor on the device; 0 when the cloud did it."""
    head_ms: Ms
    """The head, by the runner's clock."""
    encode_ms: Ms = 0.0
    """Boundary to payload on the device: by the runner's clock where the program encodes."""
    network_ms: Ms
    """Sending, the way there and back, receiving: what the server did not spend."""
    tail_ms: Ms
    """The tail, by the server's clock."""
    cloud_ms: Ms
    """All of the server's time: queue, decoding and tail, by its clock."""
    total_ms: Ms
    """End to end, without adb (an app on the phone has none in between)."""
    adb_ms: Ms
    """Moving tensors between this computer and the device over adb: not in the total."""


class ModeResult(Document):
    """The same photo run in one way, several times."""

    mode: Literal["planned", "best split", "device-only", "cloud-only"]
    """Which way."""
    cut: str
    """Cut id."""
    codec: str
    """Codec name, ``none`` when nothing is sent."""
    runs: tuple[MeasuredRun, ...] = Field(min_length=1)
    """Raw, in order."""
    predicted_p50_ms: float
    """The cost model's median of the total."""
    predicted_p95_ms: float
    """The cost model's 95th percentile."""
    uplink_bytes: int
    """Payload sent per job."""
    device_mj: float | None = None
    """Head and preparation as profiled, radio as modelled; None when a part is unknown."""
    top: tuple[TopClass, ...]
    """Best classes of the last run."""
    max_logit_difference: float
    """Largest difference of the outputs to the unsplit model's."""
    fell_back: str | None = None
    """Why a job was finished on the device instead, if one was."""


class Comparison(Document):
    """``demo.json``."""

    schema_: Literal["mobilesplit.demo/1"] = Field(alias="schema")
    """Format name and version."""
    image: str
    """File name of the photo."""
    image_bytes: int
    """Its size."""
    link_requested: Link
    """What the shaper was told."""
    link_measured: Link
    """What the client measured through it."""
    link_samples: dict[str, tuple[float, ...]]
    """Raw: rtt_ms, uplink_bps, downlink_bps."""
    profile: Profile
    """Everything measured on device and server."""
    plan: Plan
    """The decision."""
    modes: tuple[ModeResult, ...] = Field(min_length=1)
    """The plan and its alternatives, run."""
    unsplit_top: tuple[TopClass, ...]
    """The whole model's best classes, run here in PyTorch."""
    runner_inferences: int
    """Inferences that the device counted over the modes' runs."""
    cloud_tail_runs: int
    """Tails that the server counted over the modes' runs."""
    step_seconds: dict[str, float]
    """How long each step of the demo took."""
    versions: dict[str, str]
    """mobilesplit, torch, executorch, Python, runner."""
    notes: tuple[str, ...] = ()
    """What a reader must know to judge the figures."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Settings and machine."""
