"""What a profile runs: every stage in one pass, a few heads alone to correct it, encoders. Pure.

One pass over the stages runs through every cut, so it measures all heads at the cost of the
whole model. But a stage that starts from a boundary in memory is not quite the same
work as within its head; so a few heads, the anchors, are measured alone in the same rounds, and
what they say corrects the others (heads.py).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from mobilesplit.core.cuts import INPUT
from mobilesplit.core.errors import UnknownNameError
from mobilesplit.core.manifest import BundleCut, Manifest

CHAIN = "chain"
"""Id of the series of all stages."""
ENCODED = "encoded"
"""Id of the same with the encoders."""
_SHALLOWER = 0.75
"""Of an anchor's work: a head above that is close enough to it."""
_ROUND_PASSES = 16
"""Passes over the stages between two turns of the anchors, which then cost about a third."""
_CHEAP_SHARE = 0.2
"""Of the model's work: a head below it is run more often in its turn."""
_LEAST_TURNS = 4
"""Of an anchor, where there are samples enough: fewer would leave its ratio to chance."""


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

    def passes_per_round(self, runs: int, sessions: int) -> int:
        """Passes over the stages between the anchors' turns, so that ``sessions`` of whole rounds
        come to ``runs`` passes or hardly more."""
        share = math.ceil(runs / sessions)
        least = math.ceil(min(_LEAST_TURNS, runs // 4) / sessions)
        rounds = max(1, least, round(share / _ROUND_PASSES))
        return math.ceil(share / rounds)

    def order(self, seed: int, round_number: int) -> list[BundleCut]:
        """The anchors as this round runs them: drift then favours none."""
        order = list(self.anchors)
        random.Random(f"{seed}/{round_number}").shuffle(order)  # noqa: S311  # an order, no secret
        return order


def anchor_id(entry: BundleCut) -> str:
    """Id of the series of one head alone."""
    return f"head.{entry.cut.depth}"


def runs_per_turn(entry: BundleCut) -> int:
    """How often an anchor runs when it is its turn, besides once before any counts.

    A head that follows something else finds the caches full of that. Run back to back, as heads
    alone are, it would not; and the shallower it is, the more that is of its time.
    """
    return 5 if entry.cut.device_share < _CHEAP_SHARE else 1


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
    their stages; and of the composed ones always the next at about half of the work.

    Shallow heads are cheap to run and each stage is a larger part of them, so the anchors lie
    closer there; together those that are composed cost twice the whole model.
    """
    chosen = {wanted[-1].cut.depth} | {entry.cut.depth for entry in wanted if entry.fused}
    left = [entry for entry in wanted if not entry.fused and entry.cut.device_share > 0]
    share = wanted[-1].cut.device_share
    while left := [entry for entry in left if entry.cut.device_share < share * _SHALLOWER]:
        following = min(left, key=lambda e: abs(math.log(e.cut.device_share / (share / 2))))
        chosen.add(following.cut.depth)
        share = following.cut.device_share
    return [entry for entry in wanted if entry.cut.depth in chosen]


def _name(method: str | None) -> str:
    assert method is not None, "plan_heads has checked that every stage has a method"
    return method
