from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.fold import fold_batch_norms
from mobilesplit.segment.trace import Graph, trace


def names(graph: Graph) -> list[str]:
    return [str(node.target) for node in graph.operators]


def test_batch_norms_disappear_and_the_outputs_stay(
    skip_graph: Graph, images: tuple[Tensor, ...]
) -> None:
    before = skip_graph.run(*images)[0]
    folded = fold_batch_norms(skip_graph)
    assert not any("norm" in name for name in names(folded))
    assert torch.allclose(folded.run(*images)[0], before, atol=1e-5)
    assert torch.equal(skip_graph.run(*images)[0], before)  # the traced graph is as it was


def test_folding_changes_neither_ids_nor_work_of_the_cuts(skip_graph: Graph) -> None:
    def listing(graph: Graph) -> list[tuple[str, int, int]]:
        return [(cut.id, cut.head_flops, cut.boundary_nbytes) for cut in find_cuts(graph)]

    assert listing(fold_batch_norms(skip_graph)) == listing(skip_graph)


def test_a_norm_that_is_not_behind_a_convolution_alone_stays() -> None:
    graph = trace(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), (torch.ones(1, 3, 2, 2),))
    assert fold_batch_norms(graph) is graph
