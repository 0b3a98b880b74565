"""Statistics of raw samples. Samples are kept; these are derived when shown."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], fraction: float) -> float:
    """The ``fraction`` (0 to 1) quantile by linear interpolation between order statistics.

    Raises:
        ValueError: for no samples or a fraction outside 0..1.
    """
    if not samples or not 0 <= fraction <= 1:
        raise ValueError(f"need samples and a fraction in 0..1, got {len(samples)}, {fraction}")
    ordered = sorted(samples)
    position = (len(ordered) - 1) * fraction
    low = math.floor(position)
    high = math.ceil(position)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median(samples: Sequence[float]) -> float:
    """The middle sample. Raises ValueError for no samples."""
    return percentile(samples, 0.5)
