"""What comes back from a run of a head, a job or a measurement; and who can run a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class HeadRun:
    """One head inference on a device."""

    outputs: tuple[Array, ...]
    """The boundary in the manifest's order, or what its encoder made of it."""
    head_ms: float
    """What the runner's own clock said of the inference."""
    round_trip_ms: float
    """From handing over the inputs to holding the outputs: inference, encoding and adb."""
    encode_ms: float = 0.0
    """What the runner's own clock said of the encoder; 0 without one."""


class HeadRunner(Protocol):
    """Runs heads on a device: `device` implements it, `client` uses it."""

    def run_head(
        self, method: str, inputs: tuple[Array, ...], encoder: str | None = None
    ) -> HeadRun:
        """Run ``method`` of the loaded program, and ``encoder`` on what it returns.

        Raises:
            RunnerError: the runner refused or died.
            DeviceGoneError: the connection to the device was lost.
        """
        ...


def contiguous(array: Array) -> Array:
    """The same elements in row-major order, as files and frames want them."""
    return np.ascontiguousarray(array)
