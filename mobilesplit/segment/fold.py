"""Batch norms folded into the convolutions in front of them: fewer operators on both sides.

The rule: the result is a new Graph; the traced one and its weights are left as they are.
"""

from __future__ import annotations

import copy
import operator
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mobilesplit.segment.trace import Graph, graph_of

_CONVOLUTIONS = {
    torch.ops.aten.conv1d.default,
    torch.ops.aten.conv2d.default,
    torch.ops.aten.conv3d.default,
}
_BATCH_NORM = torch.ops.aten.batch_norm.default
_NATIVE_BATCH_NORM = torch.ops.aten._native_batch_norm_legit_no_training.default
"""What ``_BATCH_NORM`` becomes in eval mode when a model with in-place operators is traced."""


def fold_batch_norms(graph: Graph) -> Graph:
    """``graph`` with each eval-mode batch norm behind a convolution folded into its weights.

    The outputs differ from the original's by rounding (5e-6 for EfficientNet-Lite0's logits);
    weights that are not folded are shared with it.
    """
    # deepcopy takes what its memo says is copied already: the weights stay shared.
    weights = [*graph.module.parameters(), *graph.module.buffers()]
    module = copy.deepcopy(graph.module, {id(weight): weight for weight in weights})
    num_folded = 0
    for norm in list(module.graph.nodes):
        if _foldable(norm):
            _fold(module, norm, f"_folded_{num_folded}")
            num_folded += 1
    if not num_folded:
        return graph
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return graph_of(module, graph.example_inputs)


def _foldable(norm: fx.Node) -> bool:
    """A batch norm in eval mode, the only user of a convolution, all weights being constants."""
    if norm.target is _BATCH_NORM:
        trains = bool(norm.args[5])
    elif norm.target is _NATIVE_BATCH_NORM:
        trains = any(user.target is not operator.getitem or user.args[1] for user in norm.users)
    else:
        return False
    conv = norm.args[0]
    return (
        not trains
        and isinstance(conv, fx.Node)
        and conv.target in _CONVOLUTIONS
        and len(conv.users) == 1
        and all(arg is None or _is_weight(arg) for arg in (*norm.args[1:5], *conv.args[1:3]))
    )


def _is_weight(arg: object) -> bool:
    return isinstance(arg, fx.Node) and arg.op == "get_attr"


def _fold(module: fx.GraphModule, norm: fx.Node, name: str) -> None:
    conv = cast(fx.Node, norm.args[0])
    gamma, beta, mean, variance = (_weight(module, arg) for arg in norm.args[1:5])
    weight, bias = (_weight(module, conv.args[i]) if len(conv.args) > i else None for i in (1, 2))
    assert weight is not None and mean is not None and variance is not None
    folded = fuse_conv_bn_weights(
        nn.Parameter(weight, requires_grad=False),
        None if bias is None else nn.Parameter(bias, requires_grad=False),
        mean,
        variance,
        cast(float, norm.args[7 if norm.target is _BATCH_NORM else 6]),
        gamma,
        beta,
    )
    new_args = []
    with module.graph.inserting_before(conv):
        for suffix, value in zip(("weight", "bias"), folded, strict=True):
            target = f"{name}_{suffix}"
            module.register_parameter(target, nn.Parameter(value.detach(), requires_grad=False))
            node = module.graph.get_attr(target)
            node.meta["val"] = value.detach()
            new_args.append(node)
    conv.args = (conv.args[0], *new_args, *conv.args[3:])
    # The convolution now ends where the batch norm did: cuts are named by that module.
    conv.meta["nn_module_stack"] = norm.meta.get("nn_module_stack", {})
    results = [norm] if norm.target is _BATCH_NORM else list(norm.users)
    for result in results:
        result.replace_all_uses_with(conv)
        module.graph.erase_node(result)
    if norm.target is _NATIVE_BATCH_NORM:
        module.graph.erase_node(norm)


def _weight(module: fx.GraphModule, arg: object) -> Tensor | None:
    """The tensor that a ``get_attr`` node stands for; None for None."""
    if arg is None:
        return None
    value: object = module
    for part in str(cast(fx.Node, arg).target).split("."):
        value = getattr(value, part)
    return cast(Tensor, value)
