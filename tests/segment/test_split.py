from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mobilesplit.core.errors import ModelError
from mobilesplit.segment import split
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.trace import Graph, trace
from mobilesplit.segment.verify import verify

KINDS = ("linear", "relu_", "add", "matmul", "transpose", "chunk", "topk")
SOURCES = st.tuples(st.integers(0, 9), st.integers(0, 9))
RECIPES = st.lists(st.tuples(st.sampled_from(KINDS), SOURCES), min_size=1, max_size=9)


class RandomNet(nn.Module):
    """Layers that each take earlier values: ``recipe`` holds (kind, sources) by layer.

    Values are 1 x 4 x 4; value 0 is the input, value i+1 the result of layer i. The model
    returns the last value and, where asked, the sum of two others.
    """

    def __init__(self, recipe: list[tuple[str, tuple[int, int]]], *, second_output: bool) -> None:
        super().__init__()
        self.recipe = recipe
        self.second_output = second_output
        self.linears = nn.ModuleList(nn.Linear(4, 4) for _ in recipe)
        self.register_buffer("offset", torch.randn(4))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        values = [x]
        for linear, (kind, (i, j)) in zip(self.linears, self.recipe, strict=True):
            one, other = values[i % len(values)], values[j % len(values)]
            if kind == "linear":
                values.append(linear(one))
            elif kind == "relu_":
                values.append((one + self.offset).relu_())
            elif kind == "add":
                values.append(one + other)
            elif kind == "matmul":
                values.append(torch.tanh(one @ other))
            elif kind == "transpose":
                values.append(one.transpose(1, 2))
            elif kind == "chunk":
                a, b = one.chunk(2, dim=-1)
                values.append(torch.cat([b, a], dim=-1))
            else:
                values.append(torch.topk(one, 4).values)
        if self.second_output:
            return values[-1] * 2, values[0] + values[len(values) // 2]
        return values[-1] + 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipe=RECIPES, second_output=st.booleans(), seed=st.integers(0, 2**16))
def test_every_cut_divides_any_graph_and_head_then_tail_is_the_whole(
    recipe: list[tuple[str, tuple[int, int]]], second_output: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    net = RandomNet(recipe, second_output=second_output)
    graph = trace(net, (torch.randn(1, 4, 4),))
    cuts = find_cuts(graph, every=True, max_boundary_tensors=8)
    # The same operators in the same order: what is left is torch's kernels, which may round
    # differently where a tensor lies elsewhere in memory.
    assert max(verify(graph, cuts).values()) <= 1e-6


def test_stages_one_after_the_other_are_the_whole(
    skip_graph: Graph, images: tuple[Tensor, ...]
) -> None:
    cuts = find_cuts(skip_graph, every=True)
    values = images
    for start, end in pairwise(cuts):
        values = split.run(split.stage(skip_graph, start, end), values)
        assert [tuple(v.shape) for v in values] == [spec.shape for spec in end.boundary]
    assert torch.equal(values[0], skip_graph.run(*images)[0])


def test_pieces_share_their_weights_with_the_whole(skip_graph: Graph) -> None:
    whole = {weight.data_ptr() for weight in skip_graph.module.parameters()}
    for cut in find_cuts(skip_graph):
        for piece in (split.head(skip_graph, cut), split.tail(skip_graph, cut)):
            assert {weight.data_ptr() for weight in piece.parameters()} <= whole


def test_a_boundary_that_does_not_divide_the_graph_is_refused(skip_graph: Graph) -> None:
    inside = next(cut for cut in find_cuts(skip_graph, every=True) if len(cut.boundary) == 2)
    half = inside.model_copy(update={"boundary": inside.boundary[1:]})
    with pytest.raises(ModelError, match="does not divide"):
        split.tail(skip_graph, half)


def test_a_cut_of_another_graph_is_refused(skip_graph: Graph) -> None:
    other = find_cuts(trace(torch.nn.Linear(3, 3), (torch.ones(1, 3),)))[0]
    with pytest.raises(ModelError, match="not of this graph"):
        split.head(skip_graph, other)
