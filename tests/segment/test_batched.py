from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from mobilesplit.core.errors import ModelError
from mobilesplit.segment import batched, split
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.trace import Graph, trace


class TokenNet(nn.Module):
    """A token is put in front, and heads are folded into the batch: sizes of B and of 2 B."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.widen = nn.Linear(8, 8)
        self.narrow = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], 1, 8), x], 1)
        heads = torch.relu(self.widen(x)).view(x.shape[0], -1, 2, 4).transpose(1, 2)
        heads = torch.sigmoid(heads.reshape(x.shape[0] * 2, -1, 4))
        return self.narrow(heads.view(x.shape[0], 2, -1, 4).transpose(1, 2).reshape(x.shape))


def _graph(module: nn.Module, *shape: int) -> Graph:
    torch.manual_seed(0)
    return trace(module, (torch.randn(shape),))


def _why_not(module: nn.Module, *shape: int) -> str:
    graph = _graph(module, *shape)
    with pytest.raises(ModelError, match="batch 1 only") as refused:
        batched.follow_batch(graph, module)
    return str(refused.value)


def test_literal_sizes_are_known_as_multiples_of_the_batch() -> None:
    torch.manual_seed(0)
    module = TokenNet()
    graph = _graph(module, 1, 5, 8)
    batching = batched.follow_batch(graph, module)
    followed = {times for sizes in batching.arguments.values() for times in sizes.values()}
    assert followed == {1, 2}
    assert batching.dimensions["x"] == (1, 0, 0)
    assert batching.dimensions["sigmoid"] == (2, 0, 0)


@pytest.mark.parametrize("rows", [1, 2, 3, 64])
def test_every_stage_gives_each_row_of_a_batch_what_it_gives_it_alone(rows: int) -> None:
    torch.manual_seed(0)
    module = TokenNet()
    graph = _graph(module, 1, 5, 8)
    batching = batched.follow_batch(graph, module)
    cuts = find_cuts(graph, every=True)
    # One of them starts where the only size to read the batch from is twice as large.
    assert [batching.dimensions[cut.boundary[0].name][0] for cut in cuts].count(2) > 0
    alone = [(torch.randn(1, 5, 8),) for _ in range(rows)]
    for start, end in pairwise(cuts):
        along = [batching.dimension(spec.name) for spec in start.boundary]
        together = [
            torch.cat(tensors, dim)
            for dim, tensors in zip(along, zip(*alone, strict=True), strict=True)
        ]
        alone = [split.run(split.stage(graph, start, end), row) for row in alone]
        outputs = split.run(batched.free_stage(graph, batching, start, end), together)
        for index, output in enumerate(outputs):
            one_by_one = torch.cat([row[index] for row in alone])
            assert torch.allclose(output, one_by_one, atol=1e-6)


def test_a_hard_coded_batch_is_refused_with_what_does_not_fit() -> None:
    class HardCoded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(12, 4)

        def forward(self, image: Tensor) -> Tensor:
            return self.layer(torch.relu(image).view(1, -1))

    assert "same reduction dim" in _why_not(HardCoded(), 1, 3, 4)


def test_control_flow_on_the_batch_is_refused_with_the_condition() -> None:
    class TwoWays(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.shape[0] > 8 else x + 1

    assert "<= 8" in _why_not(TwoWays(), 1, 4)


def test_a_model_that_runs_otherwise_at_batch_1_is_refused() -> None:
    class AloneDiffers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sigmoid() if x.shape[0] == 1 else x.tanh()

    assert "tanh runs at other batches where sigmoid runs at 1" in _why_not(AloneDiffers(), 1, 4)


def test_a_size_that_does_not_grow_row_by_row_is_refused() -> None:
    class OneMore(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.ones(x.shape[0] + 1, 4)[1:]

    assert "no multiple of the batch" in _why_not(OneMore(), 1, 4)


def test_an_input_without_a_batch_is_refused_by_name() -> None:
    assert "the input input_1 has no batch of 1" in _why_not(nn.Linear(4, 2), 3, 4)


def test_a_boundary_that_does_not_carry_the_batch_is_refused_by_name() -> None:
    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.amax(0).relu().sigmoid() + 1

    module = Pooled()
    graph = _graph(module, 1, 4)
    batching = batched.follow_batch(graph, module)
    cut = next(cut for cut in find_cuts(graph, every=True) if cut.boundary[0].name == "relu")
    with pytest.raises(ModelError, match="relu has the batch in 0 dimensions"):
        batched.free_stage(graph, batching, cut, find_cuts(graph)[-1])


def test_rows_differ_and_ids_stay_ids() -> None:
    ids, floats = torch.arange(7).view(1, 7), torch.ones(1, 4)
    more_ids, more_floats = batched.different_rows((ids, floats))
    assert torch.equal(more_ids[:1], ids)
    assert more_ids.unique(dim=0).shape == (3, 7)
    assert all(sorted(row.tolist()) == list(range(7)) for row in more_ids)
    assert more_floats.unique(dim=0).shape == (3, 4)


@pytest.mark.parametrize(
    "example",
    [
        torch.zeros(1, 4),
        torch.ones(1, 4),
        torch.full((1, 1), 7.0),
        torch.full((1, 1), 3e9),
        torch.tensor([[0.0, -torch.inf, 2.0]]),
        torch.zeros(1, 4, dtype=torch.float16),
        torch.zeros(1, 4, dtype=torch.int64),
        torch.ones(1, 4, dtype=torch.int64),
        torch.tensor([7]),
        torch.tensor([0]),
        torch.tensor([[5, 3]], dtype=torch.uint8),
        torch.tensor([[1, 2, 3] * 4]),
        torch.ones(1, 1, dtype=torch.bool),
        torch.zeros(1, 6, dtype=torch.bool),
    ],
    ids=str,
)
def test_every_other_row_differs_from_the_example_whatever_that_holds(example: Tensor) -> None:
    (rows,) = batched.different_rows((example,))
    assert (rows.dtype, rows.shape) == (example.dtype, (3, *example.shape[1:]))
    assert torch.equal(rows[:1], example)
    assert not torch.equal(rows[1:2], example)
    assert not torch.equal(rows[2:], example)
    assert torch.equal(rows, batched.different_rows((example,))[0])
    if not example.is_floating_point():
        assert int(rows.long().min()) >= 0
        assert int(rows.long().max()) <= max(1, int(example.long().max()))


def test_a_mask_of_ones_stays_a_mask_that_hides_not_everything() -> None:
    (rows,) = batched.different_rows((torch.ones(1, 5, dtype=torch.int64),))
    assert rows.unique().tolist() == [0, 1]
    assert rows.amax(1).tolist() == [1, 1, 1]


def test_floats_stay_in_the_range_of_the_example() -> None:
    example = torch.tensor([[0.25, 0.5, -torch.inf, 0.75]])
    (rows,) = batched.different_rows((example,))
    assert torch.equal(rows.isinf(), example.isinf().expand(3, 4))
    finite = rows[rows.isfinite()]
    assert float(finite.min()) >= 0.25 and float(finite.max()) <= 0.75


def test_an_input_whose_rows_cannot_be_told_apart_is_refused_by_name() -> None:
    module = nn.ReLU()
    graph = trace(module, (torch.full((1, 4), -torch.inf),))
    with pytest.raises(ModelError, match="the rows of input_1 cannot be told apart"):
        batched.follow_batch(graph, module)


def test_what_is_not_row_major_is_copied_to_it() -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu().transpose(1, 2)

    graph = _graph(Turned(), 1, 1, 4)
    cuts = find_cuts(graph)
    module = Turned()
    batching = batched.follow_batch(graph, module)
    piece = batched.free_stage(graph, batching, cuts[0], cuts[-1])
    x = torch.randn(2, 3, 4)
    outputs = split.run(piece, (x,))
    assert batched.copy_to_row_major(piece, outputs)
    copied = split.run(piece, (x,))
    assert copied[0].is_contiguous() and torch.equal(copied[0], outputs[0])
    assert not batched.copy_to_row_major(piece, copied)
