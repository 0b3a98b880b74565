from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import ModelError
from mobilesplit.segment import split
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.trace import Graph, trace
from mobilesplit.segment.verify import max_abs_error, verify

KINDS = (
    "linear", "relu_", "add", "matmul", "transpose", "chunk", "topk", "first", "cast", "unbind",
    "mask",
)  # fmt: skip
SOURCES = st.tuples(st.integers(0, 9), st.integers(0, 9))
RECIPES = st.lists(st.tuples(st.sampled_from(KINDS), SOURCES), min_size=1, max_size=9)


class RandomNet(nn.Module):
    """Layers that each take earlier values: ``recipe`` holds (kind, sources) by layer.

    Values are 1 x 4 x 4; value 0 is the first input, value i+1 the result of layer i. The model
    returns the last value and, where asked, the sum of two others. Weights are small integers,
    and so is every value: float32 holds them exactly, in whatever order a kernel adds them up.
    """

    def __init__(self, recipe: list[tuple[str, tuple[int, int]]], *, second_output: bool) -> None:
        super().__init__()
        self.recipe = recipe
        self.second_output = second_output
        self.linears = nn.ModuleList(nn.Linear(4, 4) for _ in recipe)
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=2).data.round_()
        self.register_buffer("offset", torch.arange(4.0))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        wide = mask.to(torch.float32)[:, None, :].expand(1, 4, 4)
        values = [x]
        for linear, (kind, (i, j)) in zip(self.linears, self.recipe, strict=True):
            one, other = values[i % len(values)], values[j % len(values)]
            if kind == "linear":
                value = linear(one)
            elif kind == "relu_":
                value = (one + self.offset).relu_()
            elif kind == "add":
                value = one + other
            elif kind == "matmul":
                value = one @ other
            elif kind == "transpose":
                value = one.transpose(1, 2)
            elif kind == "chunk":
                a, b = one.chunk(2, dim=-1)
                value = torch.cat([b, a], dim=-1)
            elif kind == "topk":
                value = torch.topk(one, 4).values
            elif kind == "first":
                value = one[:, :1] + other
            elif kind == "cast":
                value = (one.to(torch.int32) // 2).float()
            elif kind == "unbind":
                rows = one.unbind(1)
                value = torch.stack([rows[2], rows[0], rows[3], rows[0]], dim=1)
            else:
                value = one.masked_fill(wide == 0, 1.0) * wide
            values.append(value if kind == "transpose" else value.clamp(-8, 8))
        if self.second_output:
            return values[-1] * 2, values[0] + values[len(values) // 2]
        return values[-1] + 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipe=RECIPES, second_output=st.booleans(), seed=st.integers(0, 2**16))
def test_every_cut_divides_any_graph_and_head_then_tail_is_the_whole(
    recipe: list[tuple[str, tuple[int, int]]], second_output: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    net = RandomNet(recipe, second_output=second_output)
    graph = trace(net, (torch.randint(-4, 5, (1, 4, 4)).float(), torch.tensor([[1, 0, 1, 1]])))
    every = find_cuts(graph, every=True, max_boundary_tensors=8)
    cuts = [*every, *find_cuts(graph)]
    assert all(divides(graph, cut) for cut in cuts)
    assert set(verify(graph, cuts).values()) == {0.0}
    values = graph.example_inputs
    for start, end in pairwise(every):
        values = split.run(split.stage(graph, start, end), values)
    assert max_abs_error(values, graph.run(*graph.example_inputs)) == 0.0


def divides(graph: Graph, cut: Cut) -> bool:
    """Whether every path from an input to an output goes through the boundary."""
    crossing = {spec.name for spec in cut.boundary}
    pending, seen = list(graph.outputs), set(graph.outputs)
    while pending:
        node = pending.pop()
        if node.name in crossing:
            continue
        if node in graph.inputs:
            return False
        sources = set(node.all_input_nodes) - seen
        seen |= sources
        pending += sources
    return True


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
