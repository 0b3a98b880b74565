"""What an export is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from torch import Tensor

from mobilesplit.core.errors import UnknownNameError, UsageError
from mobilesplit.segment.cuts import MAX_BOUNDARY_TENSORS

Backend = Literal["xnnpack", "vulkan", "portable"]
Format = Literal["executorch", "torchscript"]
DEVICE_CODECS = ("fp16", "int8")
"""Codecs that the program can encode; ``raw`` needs none."""


@dataclass(frozen=True)
class ExportSettings:
    """How a model is exported; all of it is part of the bundle's cache key but ``jobs``."""

    max_cuts: int = 16
    """Most cuts, ``input`` and ``output`` included."""
    max_boundary_tensors: int = MAX_BOUNDARY_TENSORS
    """Cuts where more tensors cross are not considered."""
    format: Format = "executorch"
    """What heads are written as."""
    backend: Backend = "xnnpack"
    """What ExecuTorch heads delegate to; ``portable`` with TorchScript."""
    codecs: tuple[str, ...] = DEVICE_CODECS
    """Codecs whose encoders are put into the program; none with TorchScript."""
    calibration: tuple[tuple[Tensor, ...], ...] | None = None
    """Inputs to quantize heads to int8 with; None leaves them float."""
    tolerance: float = 1e-3
    """Largest difference to the original model's outputs that a float cut may have, as a share
    of each output's largest element."""
    min_snr_db: float = 10.0
    """Smallest signal-to-noise ratio of the outputs that an int8 cut may have."""
    jobs: int | None = None
    """Most processes that lower at a time; None is one a core."""

    def check(self) -> None:
        """Raises UsageError for a setting that cannot be, UnknownNameError for an unknown name."""
        if self.max_cuts < 2:
            raise UsageError(
                f"At most {self.max_cuts} cuts are too few.",
                next_step="Two are always there: input, output.",
            )
        if self.max_boundary_tensors < 1:
            raise UsageError("A boundary has at least one tensor.", next_step="Try 4.")
        if not 0 < self.tolerance < math.inf:
            raise UsageError(f"A tolerance of {self.tolerance:g} cannot be.", next_step="Try 1e-3.")
        for kind, name, known in (
            ("backend", self.backend, get_args(Backend)),
            ("format", self.format, get_args(Format)),
            *(("codec in the program", codec, DEVICE_CODECS) for codec in self.codecs),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if self.format == "torchscript":
            self._check_torchscript()
        if self.calibration is not None and self.backend != "xnnpack":
            raise UsageError(
                f"int8 heads are for XNNPACK, not for {self.backend}.",
                next_step="Use --backend xnnpack.",
            )

    def _check_torchscript(self) -> None:
        if self.calibration is not None:
            raise UsageError("TorchScript heads are float.", next_step="Leave out --quantize.")
        if self.backend != "portable":
            raise UsageError(
                f"TorchScript heads have no backend {self.backend}.",
                next_step="Leave out --backend.",
            )
        if self.codecs:
            raise UsageError(
                "Encoders go into an ExecuTorch program only.", next_step="Leave out --codecs."
            )

    def cache_key(self) -> dict[str, object]:
        """The settings that decide what is exported, by name; calibration as its digest."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        del named["jobs"]
        if self.calibration is not None:
            from mobilesplit.export.calibration import digest

            named["calibration"] = digest(self.calibration)
        return named
