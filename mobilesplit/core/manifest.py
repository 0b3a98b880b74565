"""The bundle's manifest: what `export` wrote, for whoever runs it. Documented in docs/bundle.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mobilesplit.core.cuts import Cut
from mobilesplit.core.documents import Document
from mobilesplit.core.errors import UnknownNameError
from mobilesplit.core.tensors import TensorSpec

Method = Annotated[str, Field(pattern=r"^\w+$", max_length=1024)]
"""Name of a method: it goes into the runner's command lines."""

CodecName = Annotated[str, Field(pattern=r"^(fp16|int8)$")]
"""A codec that a device may encode."""

SCHEMA: Literal["mobilesplit.bundle/2"] = "mobilesplit.bundle/2"


class ImageInput(Document):
    """How a photo becomes the model's input tensor: data, so that every side can do the same.

    The photo is turned upright, made RGB, resized so that its shorter side is
    ``resize_shorter`` (bicubic), cropped at the centre to ``height`` x ``width``, and each
    channel becomes ``(pixel / 255 - mean) / std``; the tensor is 1 x 3 x height x width.
    """

    kind: Literal["image"] = "image"
    """What the input is."""
    height: int = Field(gt=0, le=4096)
    """Rows of the tensor."""
    width: int = Field(gt=0, le=4096)
    """Columns of the tensor."""
    resize_shorter: int = Field(gt=0, le=8192)
    """Shorter side after the resize, in pixels."""
    mean: tuple[float, float, float]
    """Per channel R, G, B, of pixels in 0..1."""
    std: tuple[float, float, float]
    """Per channel R, G, B, of pixels in 0..1."""


class TextInput(Document):
    """How a text becomes the model's input tensors: token ids and their mask.

    The text is tokenized, cut to ``length`` tokens with the tokenizer's special ones and padded
    to it; both tensors are int64, 1 x ``length``: the ids, then 1 for a token and 0 for padding.
    """

    kind: Literal["text"] = "text"
    """What the input is."""
    tokenizer: str
    """File of the bundle: a tokenizer as the ``tokenizers`` library saves it (JSON)."""
    length: int = Field(gt=0, le=8192)
    """Tokens of the tensors."""


class Deviation(Document):
    """What a lossy step does to the model's outputs, against the whole float model."""

    num_inputs: int = Field(gt=0)
    """Inputs it was measured with."""
    max_abs_error: float = Field(ge=0)
    """Largest difference of any output element."""
    snr_db: float
    """Signal-to-noise ratio of the output where it is worst, the float model's being the signal;
    200 if equal."""
    top1_agreement: float | None = Field(default=None, ge=0, le=1)
    """Share of inputs whose largest output is the same element; None where the output is no row
    of scores."""


class Encoder(Document):
    """A codec's encoding as a method of the program: the boundary in, the codec's blobs out."""

    method: Method
    """Its name; cuts whose boundaries look the same share it."""
    deviation: Deviation
    """What the codec does to the model's outputs at this cut, measured."""


class Coverage(Document):
    """How much of a head the backend's delegate runs: was it used?"""

    operators: int = Field(ge=0)
    """Operators of the head on the edge dialect."""
    delegated_operators: int = Field(ge=0)
    """Those of them inside delegates."""
    delegated_flops_share: float | None = Field(default=None, ge=0, le=1)
    """Share of the head's floating-point operations inside delegates; None where torch has no
    formula for any of its operators."""
    left_out: dict[str, int]
    """Operators outside of delegates by name, with their counts."""


class Quantization(Document):
    """How the heads were quantized."""

    scheme: Literal["int8"] = "int8"
    """Weights and activations in 8 bits (PT2E, XNNPACK's quantizer, per channel)."""
    calibration_inputs: int = Field(gt=0)
    """Inputs that the activations' ranges were observed with."""
    calibration_sha256: str
    """Digest of those inputs."""
    held_out_inputs: int = Field(ge=0)
    """More of them that were kept to measure with; 0 where they were too few, and the deviations
    are those of the calibration inputs themselves."""
    min_snr_db: float
    """Smallest signal-to-noise ratio that was accepted of a head."""


class Scale(Document):
    """What an int8 value of a boundary stands for: ``(value - zero_point) * scale``."""

    scale: float = Field(gt=0, le=1e38)
    """Step between neighbouring values."""
    zero_point: int = Field(ge=-128, le=127)
    """The value that stands for 0.0."""


class BundleCut(Document):
    """A cut together with what was exported for it."""

    cut: Cut
    """The place."""
    method: Method | None = None
    """Method of the program that runs the head, or the stem of its TorchScript files; None at
    ``input``."""
    stage_method: Method | None = None
    """Method that runs the stage which ends here, from the cut before; None at ``input``. One
    after the other the stages compute every boundary in one pass."""
    first_stage: int = Field(ge=0)
    """The tail is stages ``first_stage`` to the last; at ``output`` that is none."""
    max_abs_error: float = Field(ge=0)
    """Largest difference of head (run as exported) then tail to the whole model."""
    max_relative_error: float = Field(default=0.0, ge=0)
    """The same as a share of the largest element of the output in question."""
    fused: bool = False
    """Whether the head was lowered alone instead of composed of the lowered stages."""
    encoders: dict[CodecName, Encoder] = Field(default_factory=dict)
    """By codec: encoders in the program that run on the head's outputs."""
    coverage: Coverage | None = None
    """What the backend's delegate runs of the head; None at ``input`` and of TorchScript."""
    scales: tuple[Scale | None, ...] = ()
    """With int8 heads, for each boundary tensor: how the tail makes it float; None where it
    crosses as it is. Empty for float heads."""
    deviation: Deviation | None = None
    """What quantizing did to the outputs at this cut; None for float heads."""
    scripts: tuple[str, ...] = ()
    """Files of a TorchScript head: ``.pt``, and ``.ptl`` for the lite interpreter."""

    @model_validator(mode="after")
    def _scales_fit(self) -> Self:
        if self.scales:
            if len(self.scales) != len(self.cut.boundary):
                raise ValueError("scales needs one entry for each boundary tensor")
            for scale, spec in zip(self.scales, self.cut.boundary, strict=True):
                if scale is not None and spec.dtype != "int8":
                    raise ValueError(f"{spec.name} has a scale and is {spec.dtype}, not int8")
        return self


class Manifest(Document):
    """``manifest.json`` of a bundle."""

    schema_: Literal["mobilesplit.bundle/2"] = Field(alias="schema")
    """Format name and version."""
    model: str
    """Name or reference of the model."""
    weights: str
    """``real: <where from>`` or ``random``."""
    format: Literal["executorch", "torchscript"] = "executorch"
    """What the heads are: methods of one program, or a file each."""
    backend: Literal["xnnpack", "vulkan", "portable"]
    """Delegate of the heads; ``portable`` is none."""
    ran_here: bool = True
    """Whether the heads were run for verification as they are. False where this machine cannot
    run the backend: their portable form was run instead."""
    quantization: Quantization | None = None
    """None for float heads."""
    program: str | None = None
    """File of the ExecuTorch program, relative to the bundle; None with TorchScript heads."""
    stages: tuple[str, ...]
    """Files of the tail's stages in order; stage k runs from cut k to cut k+1."""
    max_tail_batch: int = Field(default=1, ge=1)
    """Stages take any batch from 1 to this many."""
    cuts: tuple[BundleCut, ...]
    """Every exported cut by depth, ``input`` first and ``output`` last."""
    outputs: tuple[TensorSpec, ...]
    """What the whole model returns."""
    preprocess: ImageInput | TextInput | None = Field(default=None, discriminator="kind")
    """How a photo or a text becomes the input; None for a model that takes tensors only."""
    labels: Literal["imagenet-1k"] | None = None
    """Which class names the output's elements have, if any."""
    golden_input: str
    """File with the inputs used for verification (safetensors)."""
    golden_output: str
    """File with the whole model's outputs for them (safetensors)."""
    tolerance: float = Field(gt=0)
    """Largest ``max_relative_error`` that was accepted of a float head."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Cuts that did not hold when they were verified, with why."""
    notices: tuple[str, ...] = ()
    """What else whoever exports should know."""
    sha256: dict[str, str]
    """Digest of every other file of the bundle, by name."""
    versions: dict[str, str]
    """mobilesplit, torch, executorch and Python."""

    def find(self, cut_id: str) -> BundleCut:
        """The cut called ``cut_id``.

        Raises:
            UnknownNameError: listing the cuts there are.
        """
        for entry in self.cuts:
            if entry.cut.id == cut_id:
                return entry
        raise UnknownNameError("cut", cut_id, (entry.cut.id for entry in self.cuts))


class Bundle(Document):
    """A bundle on disk whose files have been checked against the manifest."""

    root: Path
    """Its folder."""
    manifest: Manifest
    """What is in it."""

    def path(self, name: str) -> Path:
        """Where the file ``name`` of the manifest lies."""
        return self.root / name
