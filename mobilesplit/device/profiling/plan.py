"""What a profile runs: every stage in one pass, a few heads alone to correct it, encoders. Pure.

One pass over the stages runs through every cut, so it measures all heads at the cost of the
whole model. But a stage that starts from a boundary in memory is not quite the same
work as within its head; so a few heads, the anchors, are measured alone in the same rounds, and
what they say corrects the others (heads.py).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mobilesplit.core.cuts import INPUT
from mobilesplit.core.errors import UnknownNameError
from mobilesplit.core.manifest import BundleCut, Manifest

CHAIN = "chain"
"""Id of the series of all stages."""
ENCODED = "encoded"
"""Id of the same with the encoders."""
_WIDEST_GAP = 0.55
"""Of the model's work between anchors: the correction is a straight line between them."""
_ROUND_PASSES = 8
"""Passes over the stages for every run of each anchor: the anchors then cost about a quarter."""
_LEAST_ANCHOR_RUNS = 4
"""Runs of an anchor, where there are samples enough: fewer would leave its ratio to chance."""


@dataclass(frozen=True)
class HeadPlan:
    """Which series measure the heads."""

    cuts: tuple[BundleCut, ...]
    """The cuts wanted that have a head, by depth."""
    chain: tuple[BundleCut, ...]
    """Every cut up to the deepest one wanted: their stages make the pass. Empty: heads are
    measured one by one."""
    anchors: tuple[BundleCut, ...]
    """Heads that are measured alone as well; all of them where there is no chain."""

    def stages(self) -> list[str]:
        """The chain as the runner wants it."""
        return [_name(entry.stage_method) for entry in self.chain]

    def encoded_stages(self) -> list[str]:
        """The chain with the encoders of the cuts wanted; empty where there are none."""
        wanted = {entry.cut.id for entry in self.cuts}
        names = [
            with_encoders(_name(entry.stage_method), entry if entry.cut.id in wanted else None)
            for entry in self.chain
        ]
        return names if names != self.stages() else []

    def passes_per_round(self, runs: int) -> int:
        """Passes over the stages between two runs of each anchor, of ``runs`` in all."""
        return max(1, min(_ROUND_PASSES, runs // _LEAST_ANCHOR_RUNS))

    def order(self, seed: int, round_number: int) -> list[BundleCut]:
        """The anchors as this round runs them: drift then favours none."""
        order = list(self.anchors)
        random.Random(f"{seed}/{round_number}").shuffle(order)  # noqa: S311  # an order, no secret
        return order


def anchor_id(entry: BundleCut) -> str:
    """Id of the series of one head alone."""
    return f"head.{entry.cut.depth}"


def with_encoders(method: str, entry: BundleCut | None) -> str:
    """``METHOD+ENCODER+ENCODER`` as the runner wants it; None adds no encoders."""
    encoders = entry.encoders.values() if entry is not None else ()
    return "+".join([method, *(encoder.method for encoder in encoders)])


def plan_heads(
    manifest: Manifest, cut_ids: Sequence[str] | None = None, *, one_by_one: bool = False
) -> HeadPlan:
    """What to run for the cuts ``cut_ids`` (None: all) of a bundle.

    Heads are measured one by one where that is asked for, where one cut only is wanted, and
    where the bundle has no stages for the pass.

    Raises:
        UnknownNameError: the bundle has no such cut with a head.
    """
    heads = [entry for entry in manifest.cuts if entry.cut.id != INPUT]
    known = {entry.cut.id: entry for entry in heads}
    for cut_id in cut_ids or ():
        if cut_id not in known:
            raise UnknownNameError("cut with a head", cut_id, known)
    wanted = [entry for entry in heads if cut_ids is None or entry.cut.id in cut_ids]
    deepest = wanted[-1].cut.depth
    chain = [entry for entry in heads if entry.cut.depth <= deepest]
    if one_by_one or len(wanted) == 1 or any(entry.stage_method is None for entry in chain):
        return HeadPlan(tuple(wanted), (), tuple(wanted))
    return HeadPlan(tuple(wanted), tuple(chain), tuple(_anchors(wanted)))


def _anchors(wanted: Sequence[BundleCut]) -> list[BundleCut]:
    """The deepest head; those that were lowered by themselves, for they are other programs than
    their stages; and composed ones, until no gap between those is wide."""
    chosen = {wanted[-1].cut.depth} | {entry.cut.depth for entry in wanted if entry.fused}
    composed = [entry for entry in wanted if not entry.fused]
    while (widest := _middle_of_widest_gap(composed, chosen)) is not None:
        chosen.add(widest)
    return [entry for entry in wanted if entry.cut.depth in chosen]


def _middle_of_widest_gap(composed: Sequence[BundleCut], chosen: set[int]) -> int | None:
    """Depth of the composed cut nearest to the middle of the widest gap in work between anchors."""
    shares = [0.0] + [e.cut.device_share for e in composed if e.cut.depth in chosen]
    gap, low = max(((b - a, a) for a, b in pairwise(shares)), default=(0.0, 0.0))
    between = [
        entry
        for entry in composed
        if entry.cut.depth not in chosen and low < entry.cut.device_share < low + gap
    ]
    if gap <= _WIDEST_GAP or not between:
        return None
    middle = low + gap / 2
    return min(between, key=lambda entry: abs(entry.cut.device_share - middle)).cut.depth


def _name(method: str | None) -> str:
    assert method is not None, "plan_heads has checked that every stage has a method"
    return method
