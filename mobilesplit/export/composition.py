"""Which heads are composed of lowered stages and which are lowered fused, alone.

The rule: a prediction, not a measurement. It is made of the boundaries' bytes and the heads'
work only, so the same model is always exported the same way; `tools/bench export` measures what
it claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mobilesplit.core.cuts import Cut

MAX_OVERHEAD = 0.025
"""Largest share of a head's time that composing may be predicted to cost: some way below the
3 % that it may cost at most."""
_FLOPS_PER_BYTE = 22.0
"""What passing a boundary between two delegates costs: it is written in the order of the graph
and read back into the delegate's own. From RegNet-Y-040's second head on an x86-64 core: 0.4 ms
for 1.6 MB, at 88 GFLOP/s (`tools/bench export`)."""
_FLOPS_PER_CALL = 2e6
"""What calling one more delegate costs."""


@dataclass(frozen=True)
class Composition:
    """How each head is put together; cuts are given by their index."""

    groups: tuple[tuple[int, int], ...]
    """Spans between two cuts that are lowered with marks inside: together the whole model."""
    fused: tuple[int, ...]
    """Cuts whose head is lowered alone, without a mark."""

    def base_of(self, cut: int) -> int:
        """The deepest fused head that the head of ``cut`` begins with (or is); 0 for none."""
        return max((base for base in self.fused if base <= cut), default=0)


def compose(cuts: Sequence[Cut], *, num_groups: int, delegates: bool = True) -> Composition:
    """Decide for all ``cuts``, ``input`` first.

    Args:
        delegates: whether the backend has any; without, nothing is passed between them.
        num_groups: into how many parts of about equal work the lowering is divided.
    """
    fused: list[int] = []
    overhead = 0.0
    for index in range(1, len(cuts)) if delegates else ():
        if index > 1:
            overhead += _passing(cuts[index - 1])
        if overhead > MAX_OVERHEAD * cuts[index].head_flops:
            fused.append(index)
            overhead = 0.0
    return Composition(tuple(_groups(cuts, num_groups)), tuple(fused))


def _passing(cut: Cut) -> float:
    return _FLOPS_PER_CALL + _FLOPS_PER_BYTE * cut.boundary_nbytes


def _groups(cuts: Sequence[Cut], num_groups: int) -> list[tuple[int, int]]:
    """Spans of neighbouring stages with about equally many stages each."""
    num_stages = len(cuts) - 1
    num_groups = max(1, min(num_groups, num_stages))
    ends = [round(num_stages * (index + 1) / num_groups) for index in range(num_groups)]
    return list(zip([0, *ends[:-1]], ends, strict=True))
