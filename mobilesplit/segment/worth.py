"""Which cuts to keep when there are too many: those whose loss would cost most.

Pure numpy; everything here is *modelled*: no figure of it is a measurement of any device or link.
docs/cuts.md has the assumptions. The planner's default objective is to keep the SLA with the
least cloud work. So a set of cuts is worth, in one scenario (uplink, device speed, cloud speed),
the area under its staircase "least cloud work among the cuts that keep the SLA" over log(SLA),
and a cut is worth what that area grows by without it, summed over all scenarios.

Legend: S scenarios, C cuts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_UPLINK_BPS = np.logspace(5, 9, 9)
"""0.1 to 1000 Mbit/s."""
_DEVICE_FLOPS = np.logspace(9, 12, 7)
"""1 to 1000 GFLOP/s."""
_CLOUD_SPEEDUPS = np.logspace(1, 3, 5)
"""The cloud is 10 to 1000 times the device."""
_MISSED = 2.0
"""Cloud work that an SLA is charged which no kept cut keeps, in whole models: twice cloud-only."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def most_valuable(work: npt.ArrayLike, nbytes: npt.ArrayLike, max_cuts: int) -> list[int]:
    """Indices of the ``max_cuts`` cuts to keep, in order; the first and the last always stay.

    One after the other, the cut goes whose loss costs least.

    Args:
        work: floating-point operations in front of each cut, not falling; the last has all.
        nbytes: bytes of each cut's boundary; the last one's are never sent.
    """
    num_cuts = len(np.asarray(work))
    if num_cuts <= max(2, max_cuts):
        return list(range(num_cuts))
    order_SC, gaps_SC = _by_latency(_latencies(np.asarray(work, float), np.asarray(nbytes, float)))
    shares = 1 - np.asarray(work, float) / np.asarray(work, float)[-1]
    kept = np.ones(len(shares), dtype=bool)
    while kept.sum() > max(2, max_cuts):
        uses, losses = _uses_and_losses(order_SC, gaps_SC, shares)
        fixed = ~kept
        fixed[[0, -1]] = True
        losses[fixed] = np.inf
        # What no scenario chooses can go together: the chosen ones stay chosen. A cut without
        # loss may be chosen (its equal covers for it), so of those only one goes at a time.
        unused = np.flatnonzero((uses <= 0) & ~fixed)[: kept.sum() - max(2, max_cuts)]
        dropped = unused if len(unused) else np.array([np.argmin(losses)])
        kept[dropped] = False
        order_SC, gaps_SC = _without(order_SC, gaps_SC, dropped)
    return [int(index) for index in np.flatnonzero(kept)]


def _latencies(work_C: Floats, nbytes_C: Floats) -> Floats:
    """Modelled latency in seconds, S x C.

    What is the same for all cuts that send (round trip, answer) is left out.
    """
    uplink, device, speedup = (
        grid.reshape(-1, 1) for grid in np.meshgrid(_UPLINK_BPS, _DEVICE_FLOPS, _CLOUD_SPEEDUPS)
    )
    sent_C = nbytes_C * 8
    sent_C[-1] = 0
    latencies: Floats = (
        work_C / device + sent_C / uplink + (work_C[-1] - work_C) / (device * speedup)
    )
    return latencies


def _by_latency(latencies_SC: Floats) -> tuple[Ints, Floats]:
    """Cuts from fast to slow, and from each to the next the step of log(latency), S x C.

    Behind the slowest there is none: every SLA beyond it is kept by the cut ``output``.
    """
    order_SC = np.argsort(latencies_SC, axis=1, kind="stable")
    logs_SC = np.log(np.take_along_axis(latencies_SC, order_SC, axis=1))
    return order_SC, np.diff(logs_SC, axis=1, append=logs_SC[:, -1:])


def _uses_and_losses(order_SC: Ints, gaps_SC: Floats, shares_C: Floats) -> tuple[Floats, Floats]:
    """Over how much log(SLA) each cut is chosen, and what the area grows by without it.

    Both summed over the scenarios.

    A deeper cut has less cloud work, so among the first k by latency the deepest does the work,
    and without it the second deepest; without a second the SLAs there are missed.
    """
    deepest_SC = np.maximum.accumulate(order_SC, axis=1)
    challengers_SC = np.minimum(order_SC[:, 1:], deepest_SC[:, :-1])
    second_SC = np.full_like(order_SC, -1)
    second_SC[:, 1:] = np.maximum.accumulate(challengers_SC, axis=1)
    without_SC = np.where(second_SC < 0, _MISSED, shares_C[second_SC])
    loss_SC = (without_SC - shares_C[deepest_SC]) * gaps_SC

    def by_cut(values_SC: Floats) -> Floats:
        sums = np.bincount(deepest_SC.ravel(), values_SC.ravel(), minlength=len(shares_C))
        return sums.astype(np.float64)

    return by_cut(gaps_SC), by_cut(loss_SC)


def _without(order_SC: Ints, gaps_SC: Floats, dropped: Ints) -> tuple[Ints, Floats]:
    """The scenarios without some cuts: the step behind each falls to the cut in front of it."""
    num_scenarios = len(order_SC)
    starts_SC = np.cumsum(gaps_SC, axis=1) - gaps_SC
    stays_SC = ~np.isin(order_SC, dropped)
    logs_SC = starts_SC[stays_SC].reshape(num_scenarios, -1)
    gaps_SC = np.diff(logs_SC, axis=1, append=logs_SC[:, -1:])
    return order_SC[stays_SC].reshape(num_scenarios, -1), gaps_SC
