"""How much of a head its backend's delegate runs: "was my delegate used?".

Operators are counted on the edge dialect, floating-point operations with torch's own formulas.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import fx
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from mobilesplit.core.manifest import Coverage
from mobilesplit.export.boundaries import is_mark


def count_operators(graph: fx.Graph) -> int:
    """Operators that compute: taking one of several results is none."""
    return sum(_computes(node) for node in graph.nodes)


def coverage(nodes: Iterable[fx.Node], delegated_operators: int, total_flops: int) -> Coverage:
    """What was delegated of a head.

    Args:
        nodes: of the lowered head.
        delegated_operators: in all its delegates.
        total_flops: of the head, by the same formulas.
    """
    left_out = [node for node in nodes if _computes(node) and not _calls_delegate(node)]
    outside = sum(map(_flops, left_out))
    share = min(1.0, max(0.0, 1.0 - outside / total_flops)) if total_flops else None
    return Coverage(
        operators=delegated_operators + len(left_out),
        delegated_operators=delegated_operators,
        delegated_flops_share=share,
        left_out=dict(sorted(Counter(map(_operator_name, left_out)).items())),
    )


def _computes(node: fx.Node) -> bool:
    return (
        node.op == "call_function"
        and node.target is not operator.getitem
        and not is_mark(node.target)
    )


def _calls_delegate(node: fx.Node) -> bool:
    return str(node.target) == "executorch_call_delegate"


def _operator_name(node: fx.Node) -> str:
    """``aten.convolution``: without the overload."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.replace("::", ".") if schema is not None else str(node.target)


def _flops(node: fx.Node) -> int:
    target: Any = getattr(node.target, "_op", node.target)  # an edge operator wraps torch's

    def values(tree: Any) -> Any:
        return pytree.tree_map_only(fx.Node, lambda value: value.meta["val"], tree)

    with FlopCounterMode(display=False) as counter:
        target(*values(node.args), **values(node.kwargs))
    return int(counter.get_total_flops())
