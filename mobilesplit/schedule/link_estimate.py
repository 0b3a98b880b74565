"""From transfers that were timed to a link. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mobilesplit.core.links import Link, Radio
from mobilesplit.core.statistics import median


def estimate_link(
    *,
    rtt_ms: Sequence[float],
    uplink_bps: Sequence[float],
    downlink_bps: Sequence[float],
    name: str,
    radio: Radio | None = None,
) -> Link:
    """A link whose figures explain the samples.

    A round trip is ``rtt + u1 + u2`` with two draws u from 0..jitter, so its median is
    ``rtt + jitter`` and its smallest tends to ``rtt``: the least of n draws of u1 + u2 lies
    about ``jitter * sqrt(pi / 2 / n)`` above it (triangular density near zero).

    Raises:
        ValueError: without samples.
    """
    middle = median(rtt_ms)
    smallest = min(rtt_ms)
    expected_excess = min(0.9, (1.5708 / len(rtt_ms)) ** 0.5)
    jitter_ms = (middle - smallest) / (1 - expected_excess)
    return Link(
        name=name,
        uplink_bps=median(uplink_bps),
        downlink_bps=median(downlink_bps),
        rtt_ms=max(0.0, middle - jitter_ms),
        jitter_ms=jitter_ms,
        radio=radio,
        source="measured",
    )
