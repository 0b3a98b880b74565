from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.jit.mobile import _load_for_lite_interpreter

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import ModelError
from mobilesplit.export.scripts import script_head, script_heads
from mobilesplit.segment import split
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.fold import fold_batch_norms
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.trace import Graph, trace


class Net(nn.Module):
    """In-place activations, a batch norm, a skip, a table, and a boundary that is not row-major."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.block = nn.Conv2d(8, 8, 3, padding=1)
        self.classify = nn.Linear(8, 5)
        self.register_buffer("table", torch.arange(8.0))

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = torch.tanh(self.block(x) + x).permute(0, 2, 3, 1)
        return self.classify(torch.sin(x + self.table).mean((1, 2)))


INPUTS = (torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(3)),)


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return fold_batch_norms(trace(Net(), INPUTS))


@pytest.fixture(scope="module")
def every(graph: Graph) -> list[Cut]:
    return find_cuts(graph, every=True)


def test_every_head_reloaded_in_both_runtimes_computes_the_same_boundary(
    graph: Graph, every: list[Cut]
) -> None:
    heads, dropped = script_heads(graph, every)
    assert [head.cut.id for head in heads] == [cut.id for cut in every[1:]]
    assert not dropped
    for head in heads:
        expected = split.run(split.head(graph, head.cut), INPUTS)
        for found in head.run_reloaded(INPUTS):
            assert [value.shape for value in found] == [spec.shape for spec in head.cut.boundary]
            for one, other in zip(found, expected, strict=True):
                assert one.is_contiguous()
                assert torch.allclose(one, other, atol=1e-6)


def test_a_boundary_of_two_tensors_comes_back_in_its_order(graph: Graph, every: list[Cut]) -> None:
    cut = next(cut for cut in every if len(cut.boundary) == 2)
    expected = split.run(split.head(graph, cut), INPUTS)
    for found in script_head(graph, cut).run_reloaded(INPUTS):
        assert len(found) == 2
        assert all(map(torch.equal, found, expected))


def test_the_files_are_the_heads_for_each_runtime(
    graph: Graph, every: list[Cut], tmp_path: Path
) -> None:
    head = script_head(graph, every[-1])
    files = head.files("scripts/output")
    assert list(files) == ["scripts/output.pt", "scripts/output.ptl"]
    full, lite = (tmp_path / Path(name).name for name in files)
    for write, path in zip(files.values(), (full, lite), strict=True):
        write(path)
    with quiet():
        found = torch.jit.load(full)(*INPUTS), _load_for_lite_interpreter(lite)(*INPUTS)
    for (value,) in found:
        assert torch.allclose(value, graph.run(*INPUTS)[0], atol=1e-6)


def test_a_scripted_head_shares_the_graphs_weights_until_it_is_saved(
    graph: Graph, every: list[Cut]
) -> None:
    head = script_head(graph, every[-1])
    shared = {value.data_ptr() for value in graph.module.state_dict().values()}
    assert {value.data_ptr() for value in head.module.state_dict().values()} <= shared


def test_a_head_that_torchscript_cannot_hold_is_named() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)) * 2

    inputs = (torch.ones(1, 4),)
    graph = trace(Branches(), inputs)
    cuts = find_cuts(graph, every=True)
    assert "output" in dict(script_heads(graph, cuts)[1])
    with pytest.raises(ModelError, match=r"head of output: .*--format executorch"):
        script_head(graph, cuts[-1])
