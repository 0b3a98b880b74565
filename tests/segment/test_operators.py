from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobilesplit.segment.operators import is_free, operator_costs
from mobilesplit.segment.trace import Graph, trace


class Everything(nn.Module):
    """One operator a line; which of them are free is said by the names that they end up under."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 1).contiguous().flatten(1).unflatten(1, (4, 4))
        x = torch.nn.functional.dropout(x, 0.5, training=False)
        a, b = x.split(2, dim=1)
        x = torch.cat([a.to(torch.float64), b.double()], dim=1)
        x = torch.roll(x, 1, 0).flip(1)[:, 1:].expand(1, 3, 4).clone()
        return torch.nn.functional.pad(x.float(), (1, 1)).softmax(-1).cumsum(1)


def test_free_are_views_casts_and_copies_that_rearrange() -> None:
    graph = trace(Everything(), (torch.ones(1, 4, 4),))
    working = [str(node.target) for node in graph.operators if not is_free(node)]
    assert working == [
        "aten.cat.default", "aten.pad.default", "aten.softmax.int", "aten.cumsum.default",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("operator", "arguments", "free"),
    [
        (torch.ops.aten.dropout.default, (0.5, False), True),
        (torch.ops.aten.dropout.default, (0.5, True), False),
        (torch.ops.aten.relu_.default, (), False),
        (torch.ops.aten.view_copy.default, ([4],), True),
        (torch.ops.aten.sym_size.int, (0,), True),
        (torch.ops.aten._assert_tensor_metadata.default, ([4],), True),
        (torch.ops.aten.lift_fresh_copy.default, (), True),
        (torch.ops.aten.max_pool2d.default, ([2, 2],), False),
    ],
)
def test_an_operator_is_free_by_what_its_schema_says(
    operator: torch._ops.OpOverload, arguments: tuple[object, ...], free: bool
) -> None:
    graph = torch.fx.Graph()
    node = graph.call_function(operator, (graph.placeholder("x"), *arguments))
    assert is_free(node) is free


def test_the_cost_of_every_operator_is_in_the_table(skip_graph: Graph) -> None:
    costs = {cost.name: cost for cost in operator_costs(skip_graph)}
    assert sum(cost.flops for cost in costs.values()) == skip_graph.total_flops
    left = costs["conv2d_1"]
    assert left.module == "left"
    assert left.target == "aten.conv2d.default"
    assert left.num_parameters == 8 * 8 * 9 + 8
    assert left.output_bytes == 8 * 16 * 16 * 4


def test_a_view_makes_no_activation_and_a_cast_does() -> None:
    class Casts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(4).to(torch.float64) + 1

    costs = operator_costs(trace(Casts(), (torch.ones(2, 2),)))
    assert [cost.output_bytes for cost in costs] == [0, 32, 32]
