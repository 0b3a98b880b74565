from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobilesplit.core.errors import ModelError
from mobilesplit.export.deviation import deviation
from mobilesplit.export.quantize import QuantizedCut, quantize, quantized_cuts
from mobilesplit.export.verification import float_boundary
from mobilesplit.segment import split
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.fold import fold_batch_norms
from mobilesplit.segment.quiet import quiet_native
from mobilesplit.segment.trace import Graph, trace


class Net(nn.Module):
    """A padded stem with ReLU6, a residual block, and a sigmoid that is left in float."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d(1)
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.left = nn.Conv2d(16, 16, 3, padding=1)
        self.right = nn.Conv2d(16, 16, 3, padding=1)
        self.classify = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.relu6(self.stem(self.pad(image)))
        x = self.right(torch.relu(self.left(x))) + x
        return self.classify(torch.sigmoid(x).mean((2, 3), keepdim=True).flatten(1))


def photos(count: int) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(7)
    return [(torch.randn(1, 3, 32, 32, generator=generator),) for _ in range(count)]


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    net = Net().eval()
    net.stem.weight.data *= 8  # so that ReLU6 clamps
    return fold_batch_norms(trace(net, photos(1)[0]))


@pytest.fixture(scope="module")
def converted(graph: Graph) -> Graph:
    return quantize(graph, photos(8))


@pytest.fixture(scope="module")
def cuts(graph: Graph, converted: Graph) -> dict[str, QuantizedCut]:
    every = [cut for cut in find_cuts(graph, every=True) if "pad" not in cut.id]
    kept, dropped = quantized_cuts(every, converted)
    assert not dropped
    return {kept_cut.float_cut.id: kept_cut for kept_cut in kept}


def targets(graph: Graph) -> list[str]:
    return [str(node.target) for node in graph.operators]


def behind(cuts: dict[str, QuantizedCut], *operators: str) -> QuantizedCut:
    """The cut where the values of these float operators cross."""
    return next(
        cut for cut in cuts.values() if [s.name for s in cut.float_cut.boundary] == [*operators]
    )


def test_the_int8_model_computes_nearly_what_the_float_model_does(
    graph: Graph, converted: Graph
) -> None:
    inputs = photos(16)
    found = deviation([converted.run(*x) for x in inputs], [graph.run(*x) for x in inputs])
    assert found.snr_db > 25


def test_the_float_graph_is_left_as_it_is(graph: Graph) -> None:
    before = graph.module.code
    weights = {name: value.clone() for name, value in graph.module.state_dict().items()}
    (expected,) = graph.run(*photos(1)[0])
    quantize(graph, photos(2))
    after = graph.module.state_dict()
    assert graph.module.code == before
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[name], after[name]) for name in weights)
    assert torch.equal(graph.run(*photos(1)[0])[0], expected)


def test_every_weight_is_stored_once_as_int8(
    graph: Graph, converted: Graph, cuts: dict[str, QuantizedCut]
) -> None:
    stored = split.head(converted, cuts["output"].cut).state_dict().values()
    weights = [value for value in graph.module.state_dict().values() if value.dim() > 1]
    int8 = [value for value in stored if value.dtype == torch.int8]
    assert sorted(value.shape for value in int8) == sorted(value.shape for value in weights)
    assert not any(value.dim() > 1 and value.is_floating_point() for value in stored)


def test_relu6_clamps_before_rounding(converted: Graph, cuts: dict[str, QuantizedCut]) -> None:
    by_name = {node.name: node for node in converted.operators}
    assert [user.name for user in by_name["conv2d"].users] == ["relu6"]
    (scale,) = behind(cuts, "relu6").scales
    assert scale is not None
    assert scale.scale <= 6 / 255 * 1.01


def test_a_pad_that_is_the_same_on_both_sides_becomes_the_convolutions(
    graph: Graph, converted: Graph
) -> None:
    assert "aten.pad.default" in targets(graph)
    assert "aten.pad.default" not in targets(converted)


@pytest.mark.parametrize(("sides", "value"), [((0, 1, 0, 1), 0.0), ((1, 1, 1, 1), 0.5)])
def test_any_other_pad_stays_and_the_result_is_still_right(
    sides: tuple[int, ...], value: float
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConstantPad2d(sides, value), nn.Conv2d(4, 4, 3))
    graph = trace(net, photos(1)[0])
    found = quantize(graph, photos(4))
    assert "aten.pad.default" in targets(found)
    assert deviation([found.run(*photos(1)[0])], [graph.run(*photos(1)[0])]).snr_db > 25


def test_a_zero_padded_value_keeps_its_scale() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(4, 4, 3))
    found = quantize(trace(net, photos(1)[0]), photos(2))
    quantized = [
        node.args[1:3]
        for node in found.operators
        if "quantized_decomposed.quantize" in str(node.target)
    ]
    in_front, behind_conv, behind_pad, last = quantized
    assert behind_conv == behind_pad
    assert len({in_front, behind_conv, last}) == 3


def test_a_boundary_is_four_times_smaller_where_it_is_quantized(
    cuts: dict[str, QuantizedCut],
) -> None:
    for operators in (("relu6",), ("relu6", "relu"), ("add",)):
        cut = behind(cuts, *operators)
        assert cut.cut.boundary_nbytes * 4 == cut.float_cut.boundary_nbytes
        assert [spec.dtype for spec in cut.cut.boundary] == ["int8"] * len(operators)
        assert None not in cut.scales


def test_input_and_output_and_what_is_not_quantized_cross_as_floats(
    cuts: dict[str, QuantizedCut],
) -> None:
    for cut in (cuts["input"], cuts["output"], behind(cuts, "sigmoid")):
        assert [spec.dtype for spec in cut.cut.boundary] == ["float32"]
        assert cut.scales == (None,)


def test_int8_head_then_dequantized_float_tail_is_nearly_the_whole(
    graph: Graph, converted: Graph, cuts: dict[str, QuantizedCut]
) -> None:
    inputs = photos(8)
    expected = [graph.run(*x) for x in inputs]
    for cut in cuts.values():
        head, tail = split.head(converted, cut.cut), split.tail(graph, cut.float_cut)
        outputs = [split.run(tail, float_boundary(split.run(head, x), cut.scales)) for x in inputs]
        assert deviation(outputs, expected).snr_db > 25, cut.cut.id


def test_the_floats_of_a_boundary_are_the_int8_graphs_own_values_for_any_batch(
    cuts: dict[str, QuantizedCut],
) -> None:
    cut = behind(cuts, "relu6", "relu")
    values = [
        torch.randint(-128, 128, (3, *spec.shape[1:]), dtype=torch.int8)
        for spec in cut.cut.boundary
    ]
    expected = [
        torch.ops.quantized_decomposed.dequantize_per_tensor(
            value, scale.scale, scale.zero_point, -128, 127, torch.int8
        )
        for value, scale in zip(values, cut.scales, strict=True)
        if scale is not None
    ]
    for one, other in zip(float_boundary(values, cut.scales), expected, strict=True):
        assert torch.equal(one, other)


def test_a_value_that_the_tail_also_takes_unrounded_crosses_as_a_float() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, image: Tensor) -> Tensor:
            x = torch.sigmoid(self.one(image))
            return self.two(x) / (torch.cos(x) + 2)

    graph = trace(Both(), photos(1)[0])
    converted = quantize(graph, photos(2))
    kept, dropped = quantized_cuts(find_cuts(graph, every=True), converted)
    assert not dropped
    crossing = behind({cut.cut.id: cut for cut in kept}, "sigmoid")
    assert crossing.scales == (None,)
    expected = graph.run(*photos(1)[0])
    head = split.run(split.head(converted, crossing.cut), photos(1)[0])
    outputs = split.run(split.tail(graph, crossing.float_cut), head)
    assert deviation([outputs], [expected]).snr_db > 25


def test_a_cut_that_the_int8_model_lacks_is_named_and_the_others_are_renumbered(
    graph: Graph, converted: Graph
) -> None:
    every = find_cuts(graph, every=True)
    (lost,) = [cut for cut in every if [spec.name for spec in cut.boundary] == ["pad"]]
    kept, dropped = quantized_cuts(every, converted)
    assert [cut_id for cut_id, _ in dropped] == [lost.id]
    assert "pad" in dropped[0][1]
    depths = range(len(every) - 1)
    assert [cut.cut.depth for cut in kept] == [cut.float_cut.depth for cut in kept] == [*depths]


def test_a_model_without_anything_to_quantize_says_so() -> None:
    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(x)

    inputs = (torch.ones(1, 2),)
    with pytest.raises(ModelError, match=r"Nothing in the model .*--quantize"):
        quantize(trace(Sine(), inputs), [inputs])


def test_stages_between_int8_boundaries_are_one_delegate_each_and_run_as_torch_says(
    converted: Graph, cuts: dict[str, QuantizedCut]
) -> None:
    middle = behind(cuts, "add").cut
    stages = {
        "first": (split.stage(converted, cuts["input"].cut, middle), photos(1)[0]),
        "second": (
            split.stage(converted, middle, cuts["output"].cut),
            split.run(split.head(converted, middle), photos(1)[0]),
        ),
    }
    with quiet_native():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
        from executorch.runtime import Runtime

        lowered = to_edge_transform_and_lower(
            {
                name: torch.export.export(piece, values, strict=False)
                for name, (piece, values) in stages.items()
            },
            partitioner={name: [XnnpackPartitioner()] for name in stages},
        )
        program = Runtime.get().load_program(bytes(lowered.to_executorch().buffer))
        for name, (piece, values) in stages.items():
            graph = lowered.exported_program(name).graph
            delegates = [node for node in graph.nodes if "call_delegate" in str(node.target)]
            (found,) = program.load_method(name).execute(list(values))
            (expected,) = split.run(piece, values)
            assert len(delegates) == 1
            assert found.dtype == expected.dtype
            # Each operator rounds by itself: after three convolutions, a few steps at most.
            limit = 4 if found.dtype == torch.int8 else 0.1
            assert (found.float() - expected.float()).abs().max() <= limit
