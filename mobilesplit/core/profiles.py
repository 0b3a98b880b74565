"""The profile document: what was measured, as raw samples. Documented in docs/profile.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mobilesplit.core.documents import Document
from mobilesplit.core.errors import UnknownNameError
from mobilesplit.core.tensors import TensorSpec

SCHEMA: Literal["mobilesplit.profile/1"] = "mobilesplit.profile/1"

Ms = Annotated[float, Field(ge=0)]
Samples = Annotated[tuple[Ms, ...], Field(min_length=1)]
VerdictWord = Literal["ok", "throttled", "too_few_samples", "imprecise", "noisy", "drifting"]


class CodecCost(Document):
    """What a codec makes of one cut's boundary."""

    bytes: int = Field(ge=0)
    """Payload of one message, without framing."""
    encode_ms: tuple[Ms, ...] = (0.0,)
    """Samples of encoding on the device's side."""
    decode_ms: tuple[Ms, ...] = (0.0,)
    """Samples of decoding in the cloud; for ``original`` with the photo's whole preparation."""


class Verdict(Document):
    """Whether a head's figures are to be trusted, and what that rests on."""

    verdict: VerdictWord
    """``ok``, or the first reason against it."""
    why: str = ""
    """In a sentence; empty for ``ok``."""
    samples: int = Field(ge=0)
    """Raw samples that count."""
    interval_ms: tuple[Ms, Ms] | None = None
    """95 % interval of the median, low and high; None from too few samples."""
    cv: float = Field(ge=0)
    """Standard deviation over mean."""
    drift: float
    """How far the last third of the samples lies from the first, as a share of the median."""


class ProfileVerdict(Document):
    """Whether a profile is to be trusted as a whole."""

    verdict: VerdictWord
    """``ok`` if every head's is, else the one that most heads have."""
    why: str = ""
    """In a sentence."""
    remarks: tuple[str, ...] = ()
    """What else whoever reads it should know."""


class EnergyFigure(Document):
    """The energy of one head inference, and how sure it is."""

    basis: Literal["measured", "modelled", "predicted"]
    """``modelled`` on an emulated device; ``predicted`` from another head's power and this one's
    time."""
    source: str
    """Where it was read: ``rails``, ``battery``."""
    low_mj: float | None = None
    """Lower end of the 95 % interval; None where there is none."""
    high_mj: float | None = None
    """Upper end."""
    valid: bool
    """Whether a figure may be stated at all; without it ``head_energy_mj`` is unknown."""
    verdict: str
    """``ok``, or the reason against it."""
    why: str = ""
    """In a sentence."""


class CutProfile(Document):
    """Everything measured of one cut."""

    id: str
    """As in the bundle."""
    depth: int | None = Field(default=None, ge=0)
    """Position in the list of cuts; None: its place in the document."""
    boundary: tuple[TensorSpec, ...] = ()
    """The tensors that cross it."""
    codecs: dict[str, CodecCost] = Field(min_length=1)
    """By codec name."""
    head_ms: Samples
    """Samples of the head on the device."""
    tail_ms: dict[str, Samples]
    """Samples of the tail in the cloud, by batch size."""
    head_energy_mj: Annotated[float, Field(ge=0)] | None = None
    """Energy of one head inference above idle; the device's ``emulated`` says if modelled."""
    head_peak_bytes: int | None = Field(default=None, ge=0)
    """Peak resident memory of the runner's process."""
    head_ms_from: Literal["alone", "one_pass"] | None = None
    """``one_pass``: sums of the stages of each pass, corrected (provenance has the raw ones);
    ``alone``: the head by itself; None where nobody said."""
    verdict: Verdict | None = None
    """Whether to trust ``head_ms``; None where nobody has judged it."""
    energy: EnergyFigure | None = None
    """How sure ``head_energy_mj`` is; None where nothing more is known of it."""

    @model_validator(mode="after")
    def _batch_one_is_there(self) -> Self:
        if "1" not in self.tail_ms:
            raise ValueError('tail_ms needs the key "1" (batch 1)')
        return self


class DeviceFacts(Document):
    """The device that was measured."""

    name: str
    """What people call it."""
    emulated: bool = False
    """A virtual phone or AVD: its latency and energy stand for no phone."""
    serial: str | None = None
    """As adb says it."""
    serial_number: str | None = None
    """``ro.serialno``, which stays the same over Wi-Fi and cable."""
    model: str | None = None
    """``ro.product.model``."""
    android: str | None = None
    """``ro.build.version.release``."""
    sdk: int | None = None
    """``ro.build.version.sdk``."""
    build: str | None = None
    """``ro.build.fingerprint``."""
    kernel: str | None = None
    """Kernel release."""
    abi: str | None = None
    """``ro.product.cpu.abi``."""
    abis: tuple[str, ...] = ()
    """``ro.product.cpu.abilist``: all it runs, the best first."""
    cores: int | None = None
    """Online cores."""
    core_max_khz: tuple[int, ...] = ()
    """Highest clock by core; empty where the device does not tell it for every one."""
    memory_bytes: int | None = None
    """``MemTotal``."""
    inference_slowdown: float = Field(default=1.0, ge=1)
    """Virtual phones: factor by which the runner is slowed against the host."""
    general_slowdown: float = Field(default=1.0, ge=1)
    """Virtual phones: factor for other work of the app (decoding a photo)."""


class CloudFacts(Document):
    """The machine that ran the tails."""

    name: str
    """What people call it."""


class Profile(Document):
    """One device, one bundle, one server, measured."""

    schema_: Literal["mobilesplit.profile/1"] = Field(alias="schema")
    """Format name and version."""
    model: str
    """Name of the model."""
    device: DeviceFacts = DeviceFacts(name="unnamed")
    """Where heads ran."""
    cloud: CloudFacts = CloudFacts(name="unnamed")
    """Where tails ran."""
    cuts: tuple[CutProfile, ...] = Field(min_length=1)
    """By depth."""
    verdict: ProfileVerdict | None = None
    """Whether to trust the profile; None where nobody has judged it."""
    prepare_ms: tuple[Ms, ...] = (0.0,)
    """Samples of making the input tensor on the device (every codec but ``original`` needs it)."""
    prepare_energy_mj: Annotated[float, Field(ge=0)] | None = None
    """Energy of preparing the input once; None when unknown."""
    output_bytes: int = Field(default=4096, ge=0)
    """Payload of a result on the downlink."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Runner, versions, settings, digests: whatever tells how it was obtained."""

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [cut.id for cut in self.cuts]
        if len(set(ids)) != len(ids):
            raise ValueError("cut ids must be unique")
        return self

    def find(self, cut_id: str) -> CutProfile:
        """The cut called ``cut_id``. Raises UnknownNameError listing the cuts there are."""
        for cut in self.cuts:
            if cut.id == cut_id:
                return cut
        raise UnknownNameError("cut", cut_id, (cut.id for cut in self.cuts))
