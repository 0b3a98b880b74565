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
    """The boundary, in the manifest's order."""
    head_ms: float
    """What the runner's own clock said of the inference."""
    round_trip_ms: float
    """From handing over the inputs to holding the outputs: inference plus adb."""


class HeadRunner(Protocol):
    """Runs heads on a device: `device` implements it, `client` uses it."""

    def run_head(self, method: str, inputs: tuple[Array, ...]) -> HeadRun:
        """Run ``method`` of the loaded program.

        Raises:
            RunnerError: the runner refused or died.
            DeviceGoneError: the connection to the device was lost.
        """
        ...


def contiguous(array: Array) -> Array:
    """The same elements in row-major order, as files and frames want them."""
    return np.ascontiguousarray(array)
