"""Heads out of one lowering: composed, fused, from several processes; each against torch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import wait
from typing import Literal

import pytest
import torch
from executorch.exir._serialize._program import deserialize_pte_binary
from torch import Tensor, nn

from mobilesplit.core.cuts import Cut
from mobilesplit.export.composition import Composition
from mobilesplit.export.heads import Lowering, Program
from mobilesplit.export.programs import method_names
from mobilesplit.export.verification import Heads
from mobilesplit.export.workers import Workers
from mobilesplit.segment import split
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.fold import fold_batch_norms
from mobilesplit.segment.trace import Graph, trace
from mobilesplit.segment.verify import max_abs_error
from tests.export.networks import Branches, Crossing, SkipNet

Backend = Literal["xnnpack", "vulkan", "portable"]


def graph_of(module: nn.Module, *inputs: Tensor) -> tuple[Graph, list[Cut]]:
    graph = fold_batch_norms(trace(module.eval(), inputs))
    return graph, find_cuts(graph, every=True)


def heads_of(
    graph: Graph,
    cuts: Sequence[Cut],
    *,
    backend: Backend = "xnnpack",
    groups: tuple[tuple[int, int], ...] | None = None,
    fused: tuple[int, ...] = (),
    codecs: tuple[str, ...] = (),
) -> Program:
    groups = groups or ((0, len(cuts) - 1),)
    lowering = Lowering(graph, cuts, Composition(groups, fused), backend)
    lowering.finish(lambda _: None)
    return lowering.program([cut.id for cut in cuts], codecs)


def assert_every_head_is_right(program: Program, graph: Graph, cuts: Sequence[Cut]) -> None:
    heads = Heads(program.pte)
    assert list(program.methods) == [cut.id for cut in cuts[1:]]
    for cut in cuts[1:]:
        (boundary,) = heads.run(program.methods[cut.id], [graph.example_inputs])
        expected = split.run(split.head(graph, cut), graph.example_inputs)
        assert max_abs_error(boundary, expected) < 1e-5, cut.id


def num_delegates(pte: bytes, method: str) -> int:
    """Delegates that a method calls."""
    plan = next(p for p in deserialize_pte_binary(pte).program.execution_plan if p.name == method)
    return len(plan.delegates)


def test_the_stages_one_after_the_other_compute_every_boundary() -> None:
    graph, cuts = graph_of(SkipNet(), torch.randn(1, 3, 16, 16))
    program = heads_of(graph, cuts, groups=((0, 2), (2, len(cuts) - 1)), fused=(2,))
    heads = Heads(program.pte)
    values = graph.example_inputs
    for cut in cuts[1:]:
        (values,) = heads.run(program.stages[cut.id], [values])
        expected = split.run(split.head(graph, cut), graph.example_inputs)
        assert max_abs_error(values, expected) < 1e-5, cut.id


def test_method_names_are_identifiers_and_unique() -> None:
    names = method_names(["a.b_c", "a.b.c", "output"])
    assert names == ["head_a_b_c", "head_a_b_c_2", "head_output"]


def test_composed_heads_compute_their_boundaries() -> None:
    graph, cuts = graph_of(SkipNet(), torch.randn(1, 3, 32, 32))
    program = heads_of(graph, cuts)
    assert_every_head_is_right(program, graph, cuts)
    assert any(len(cut.boundary) == 2 for cut in cuts)


@pytest.mark.parametrize(
    ("groups", "fused"),
    [(((0, 2), (2, 4)), ()), (None, (2,)), (((0, 1), (1, 4)), (1, 3)), (((0, 2), (2, 4)), (2, 4))],
)
def test_groups_and_fused_heads_may_lie_anywhere(
    groups: tuple[tuple[int, int], ...] | None, fused: tuple[int, ...]
) -> None:
    graph, cuts = graph_of(SkipNet(), torch.randn(1, 3, 16, 16))
    cuts = [cuts[0], *cuts[1:4], cuts[-1]]
    program = heads_of(graph, cuts, groups=groups, fused=fused)
    assert_every_head_is_right(program, graph, cuts)
    assert program.fused == {cuts[index].id for index in fused}
    for index in fused:
        # Lowered in one go it is one delegate, the whole model two around its mean: a mark
        # inside would have made more of them.
        whole = index == len(cuts) - 1
        assert num_delegates(program.pte, program.methods[cuts[index].id]) == 1 + whole


def test_portable_heads_hand_an_input_through() -> None:
    graph, cuts = graph_of(Crossing(), torch.randn(1, 4))
    assert any("x" in {spec.name for spec in cut.boundary} for cut in cuts[1:-1])
    assert_every_head_is_right(heads_of(graph, cuts, backend="portable"), graph, cuts)


def test_no_delegate_reaches_over_a_cut_though_no_data_orders_the_branches() -> None:
    graph, cuts = graph_of(Branches(), torch.randn(1, 8))
    assert len(cuts) > 4
    assert_every_head_is_right(heads_of(graph, cuts), graph, cuts)


def test_coverage_names_what_the_delegate_left_out() -> None:
    graph, cuts = graph_of(SkipNet(), torch.randn(1, 3, 16, 16))
    program = heads_of(graph, cuts)
    before, whole = program.coverage["left"], program.coverage["output"]
    assert before.left_out == {}
    assert before.operators == before.delegated_operators
    assert before.delegated_flops_share == 1.0
    # XNNPACK takes a mean over height and width only where it keeps them as dimensions.
    assert whole.left_out == {"aten.mean": 1}
    assert whole.delegated_operators == whole.operators - 1


def test_without_a_delegate_everything_is_left_out() -> None:
    graph, cuts = graph_of(SkipNet(), torch.randn(1, 3, 16, 16))
    whole = heads_of(graph, cuts, backend="portable").coverage["output"]
    assert whole.delegated_operators == 0
    assert whole.delegated_flops_share == 0.0
    assert whole.left_out["aten.convolution"] == 3
    assert sum(whole.left_out.values()) == whole.operators


def test_cuts_share_the_encoder_of_boundaries_that_look_the_same() -> None:
    graph, cuts = graph_of(SkipNet(), torch.randn(1, 3, 16, 16))
    program = heads_of(graph, cuts, codecs=("fp16",))
    stem, left = (next(cut for cut in cuts if cut.id == name) for name in ("stem", "left"))
    assert program.encoders["stem"] == {"fp16": "encode_fp16_1x8x8x8"}
    assert program.encoders["left"] == {"fp16": "encode_fp16_1x8x8x8_1x8x8x8"}
    assert "output" not in program.encoders
    heads = Heads(program.pte)
    for cut in (stem, left):
        (boundary,) = heads.run(program.methods[cut.id], [graph.example_inputs])
        (encoded,) = heads.run(program.encoders[cut.id]["fp16"], [boundary])
        assert max_abs_error(encoded, [tensor.half() for tensor in boundary]) == 0.0


def test_workers_lower_what_this_process_would() -> None:
    graph, cuts = graph_of(SkipNet(), torch.randn(1, 3, 16, 16))
    with Workers(2) as workers:
        lowering = Lowering(graph, cuts, Composition(((0, 2), (2, len(cuts) - 1)), ()), "xnnpack")
        lowering.begin(workers)
        wait(lowering._handed_over.values())  # else this process would do some of it
        lowering.finish(lambda _: None)
    program = lowering.program([cut.id for cut in cuts], ())
    assert_every_head_is_right(program, graph, cuts)
