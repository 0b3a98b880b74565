"""The bundle's manifest: what `export` wrote, for whoever runs it. Documented in docs/bundle.md."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mobilesplit.core.cuts import Cut
from mobilesplit.core.documents import Document
from mobilesplit.core.errors import UnknownNameError
from mobilesplit.core.tensors import TensorSpec

SCHEMA: Literal["mobilesplit.bundle/1"] = "mobilesplit.bundle/1"


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


class BundleCut(Document):
    """A cut together with what was exported for it."""

    cut: Cut
    """The place."""
    method: str | None = None
    """Method of the program that runs the head; None at ``input``."""
    first_stage: int = Field(ge=0)
    """The tail is stages ``first_stage`` to the last; at ``output`` that is none."""
    max_abs_error: float = Field(ge=0)
    """Largest difference of head (run by ExecuTorch) then tail to the whole model."""


class Manifest(Document):
    """``manifest.json`` of a bundle."""

    schema_: Literal["mobilesplit.bundle/1"] = Field(alias="schema")
    """Format name and version."""
    model: str
    """Name or reference of the model."""
    weights: str
    """``real: <where from>`` or ``random``."""
    backend: Literal["xnnpack", "portable"]
    """Delegate of the heads."""
    program: str
    """File of the ExecuTorch program, relative to the bundle."""
    stages: tuple[str, ...]
    """Files of the tail's stages in order; stage k runs from cut k to cut k+1."""
    cuts: tuple[BundleCut, ...]
    """Every exported cut by depth, ``input`` first and ``output`` last."""
    outputs: tuple[TensorSpec, ...]
    """What the whole model returns."""
    preprocess: ImageInput | None = None
    """How a photo becomes the input; None for a model that takes tensors only."""
    labels: Literal["imagenet-1k"] | None = None
    """Which class names the output's elements have, if any."""
    golden_input: str
    """File with the inputs used for verification (safetensors)."""
    golden_output: str
    """File with the whole model's outputs for them (safetensors)."""
    tolerance: float = Field(gt=0)
    """Largest ``max_abs_error`` that was accepted."""
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
