from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobilesplit.core.errors import ModelError
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.trace import Graph, trace
from mobilesplit.segment.verify import verify


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return x + self.calls


class ReturnsText(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x + 1, "done"


def test_the_graph_computes_what_the_model_does(
    skip_graph: Graph, skip_net: nn.Module, images: tuple[Tensor, ...]
) -> None:
    with torch.no_grad():
        assert torch.allclose(skip_graph.run(*images)[0], skip_net(*images), atol=1e-5)


def test_a_multiply_add_is_two_floating_point_operations(skip_graph: Graph) -> None:
    stem, block, classifier = 3 * 8 * 9 * 256, 2 * 8 * 8 * 9 * 256, 8 * 5
    assert skip_graph.total_flops == 2 * (stem + block + classifier)


def test_in_place_operators_become_functional(skip_graph: Graph) -> None:
    names = [str(node.target) for node in skip_graph.operators]
    assert "aten.relu.default" in names
    assert "aten.relu_.default" not in names


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Branches(), "torch.export does not take this model"),
        (Counts(), "keeps state between calls (calls)"),
        (ReturnsText(), "something other than tensors"),
    ],
)
def test_a_model_that_cannot_be_cut_is_refused_in_one_line(model: nn.Module, why: str) -> None:
    with pytest.raises(ModelError) as caught:
        trace(model, (torch.ones(1, 4),))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


class Strided(nn.Module):
    """Attention's result is stored transposed: a view that merges its heads relies on that."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.back = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q = self.project(x).view(1, 4, 2, 4).transpose(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(q, q, q)
        return self.back(mixed.transpose(1, 2).view(1, 4, 8))


def test_a_view_of_what_crosses_row_major_still_divides_exactly() -> None:
    graph = trace(Strided(), (torch.randn(1, 4, 8),))
    cuts = find_cuts(graph, every=True)
    assert len(cuts) > 3
    assert set(verify(graph, cuts).values()) == {0.0}


class CountsInAParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.calls.add_(1)
        return x * self.calls


class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(4)


@pytest.mark.parametrize(
    ("module", "said"),
    [(CountsInAParameter(), r"keeps state .*\(calls\)"), (Draws(), "random .*aten.rand")],
)
def test_a_model_that_is_another_one_at_every_call_is_refused(module: nn.Module, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        trace(module, (torch.ones(1, 4),))
