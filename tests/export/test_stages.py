"""Tail stages with a free batch, as files: the weights once, each row as if it came alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mobilesplit.cloud.executor import StageExecutor
from mobilesplit.core.cuts import Cut
from mobilesplit.core.manifest import SCHEMA, Bundle, BundleCut, Manifest
from mobilesplit.export import stages
from mobilesplit.export.stages import Tails, export_tails
from mobilesplit.export.verification import TailRunner
from mobilesplit.segment import split
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.fold import fold_batch_norms
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.trace import Graph, trace


class SkipNet(nn.Module):
    """A skip connection, a folded batch norm, and a size that has the batch in it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 3, padding=1)
        self.classify = nn.Linear(8 * 64, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = self.right(torch.sin(self.left(x))) + x
        return self.classify(x.view(x.shape[0], -1))


@dataclass(frozen=True)
class Exported:
    graph: Graph
    cuts: list[Cut]
    tails: Tails


def export(module: nn.Module, *shape: int, every: bool = False) -> Exported:
    module.eval()
    torch.manual_seed(0)
    traced = trace(module, (torch.randn(shape),))
    with quiet():
        graph = fold_batch_norms(traced)
        cuts = find_cuts(graph, every=every)
        return Exported(graph, cuts, export_tails(module, traced, graph, cuts))


@pytest.fixture(scope="module")
def skip_net() -> Exported:
    return export(SkipNet(), 1, 3, 16, 16)


@pytest.fixture(scope="module")
def bundle(skip_net: Exported, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The stages as a bundle that is only served: it has no heads."""
    root = tmp_path_factory.mktemp("bundle")
    names = tuple(f"{index}.pt2" for index in range(len(skip_net.tails.programs)))
    for name, program in zip(names, skip_net.tails.programs, strict=True):
        stages.save_file(program, root / name)
    manifest = Manifest(
        schema_=SCHEMA,
        model="skip-net",
        weights="random",
        backend="portable",
        stages=names,
        max_tail_batch=skip_net.tails.max_batch,
        cuts=tuple(
            BundleCut(cut=cut, first_stage=index, max_abs_error=0)
            for index, cut in enumerate(skip_net.cuts)
        ),
        outputs=skip_net.cuts[-1].boundary,
        golden_input="in",
        golden_output="out",
        tolerance=1e-3,
        sha256={name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names},
        versions={},
    )
    return Bundle(root=root, manifest=manifest)


def test_a_model_that_takes_any_batch_has_tails_that_do(skip_net: Exported) -> None:
    assert skip_net.tails.max_batch == 64
    assert skip_net.tails.notice is None
    assert max(len(cut.boundary) for cut in skip_net.cuts) == 2


def test_the_stages_hold_each_weight_once_and_share_it_with_the_graph(skip_net: Exported) -> None:
    held = [item for program in skip_net.tails.programs for item in program.state_dict.items()]
    names = [name for name, _ in held]
    assert len(names) == len(set(names)) == 8  # weight and bias of four layers, the norm folded
    shared = {weight.data_ptr() for weight in skip_net.graph.module.parameters()}
    assert {weight.data_ptr() for _, weight in held} <= shared


@pytest.mark.parametrize("rows", [1, 2, 64])
def test_the_executor_runs_any_batch_at_every_cut_row_by_row(
    bundle: Bundle, skip_net: Exported, rows: int
) -> None:
    executor = StageExecutor(bundle)
    images = torch.randn(rows, 3, 16, 16)
    with torch.no_grad():
        expected = torch.cat([skip_net.graph.module(image[None]) for image in images])
    for cut in skip_net.cuts[:-1]:
        head = split.head(skip_net.graph, cut)
        alone = [split.run(head, (image[None],)) for image in images]
        together = [torch.cat(tensors).numpy() for tensors in zip(*alone, strict=True)]
        (output,), _ = executor.run_tail(cut.id, together)
        assert np.allclose(output, expected, atol=1e-5)


def test_the_files_hold_no_example_inputs_beside_the_weights(bundle: Bundle) -> None:
    for name in bundle.manifest.stages:
        with quiet():
            assert torch.export.load(bundle.path(name)).example_inputs is None


def test_the_file_says_which_dimension_the_rows_lie_along(tmp_path: Path) -> None:
    class RowsSecond(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.transpose(0, 1).sin().cos().sum(0)

    exported = export(RowsSecond(), 1, 6, 4, every=True)
    assert exported.tails.max_batch == 64
    along = []
    for program in exported.tails.programs:
        stages.save_file(program, tmp_path / "stage.pt2")
        with quiet():
            loaded = torch.export.load(tmp_path / "stage.pt2")
        (value,) = [node.meta["val"] for node in loaded.graph.nodes if node.op == "placeholder"]
        along.append([isinstance(size, torch.SymInt) for size in value.shape].index(True))
    assert along == [0, 1, 1]


def test_a_hard_coded_batch_falls_back_to_batch_1_and_says_why() -> None:
    class HardCoded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(torch.sin(x).view(1, -1))

    exported = export(HardCoded(), 1, 3, 4, every=True)
    assert exported.tails.max_batch == 1
    assert exported.tails.notice is not None
    assert "same reduction dim" in exported.tails.notice
    outputs = TailRunner(exported.tails.programs).run(0, exported.graph.example_inputs)
    assert torch.allclose(outputs[0], exported.graph.run(*exported.graph.example_inputs)[0])


def test_rows_that_influence_each_other_fall_back_to_batch_1() -> None:
    class Competing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(x.softmax(0))

    exported = export(Competing(), 1, 4)
    assert exported.tails.max_batch == 1
    assert exported.tails.notice is not None
    assert "a row in a batch differs" in exported.tails.notice


def test_rows_that_influence_each_other_are_seen_though_the_example_is_constant() -> None:
    class Centred(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(x - x.mean(0, keepdim=True) * 0.5)

    class FirstStepForAll(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 8)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return torch.sin(x) + self.embed(t[0])

    examples = {
        Centred(): (torch.zeros(1, 8),),
        FirstStepForAll(): (torch.zeros(1, 8), torch.tensor([7])),
    }
    for module, example in examples.items():
        graph = trace(module.eval(), example)
        cuts = find_cuts(graph)
        tails = export_tails(module, graph, graph, [cuts[0], cuts[-1]])
        assert tails.max_batch == 1
        assert tails.notice is not None
        assert "a row in a batch differs" in tails.notice


def test_what_crosses_a_boundary_is_row_major_at_every_batch() -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sin().transpose(1, 2).relu().cos()

    exported = export(Turned(), 1, 1, 4, every=True)
    values: tuple[Tensor, ...] = (torch.randn(2, 1, 4),)
    for program, (_, end) in zip(exported.tails.programs, pairwise(exported.cuts), strict=True):
        values = TailRunner([program]).run(0, values)
        assert all(value.is_contiguous() for value in values), end.id
