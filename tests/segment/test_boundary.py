from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from mobilesplit.core.cuts import Cut
from mobilesplit.segment import split
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.trace import Graph, trace
from mobilesplit.segment.verify import verify


class Encoder(nn.Module):
    """Token ids and a mask, made wide once and read by both layers; the answer is one token's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.layers = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))
        self.answer = nn.Linear(16, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        wide = (1.0 - mask[:, None, None, :].to(torch.float32)) * -1e4
        x = self.embed(ids)
        for layer in self.layers:
            q, k, v = layer(x).unflatten(-1, (3, 1, 16)).permute(2, 0, 3, 1, 4).unbind(0)
            attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=wide)
            x = x + attended.squeeze(1)
        return self.answer(x[:, 0])


def encoder() -> Graph:
    ids = torch.arange(8)[None]
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]], dtype=torch.uint8)
    return trace(Encoder().eval(), (ids, mask))


def sent(cut: Cut) -> list[tuple[str, tuple[int, ...]]]:
    return [(spec.dtype, spec.shape) for spec in cut.boundary]


def test_a_mask_crosses_as_the_input_it_was_made_of_where_that_is_smaller() -> None:
    cuts = find_cuts(encoder(), every=True)
    masks = {spec.name for cut in cuts[1:-1] for spec in cut.boundary if spec.shape == (1, 8)}
    assert masks == {"mask"}
    assert not [spec for cut in cuts for spec in cut.boundary if spec.shape == (1, 1, 1, 8)]


def test_results_that_are_views_of_one_value_cross_as_that_value() -> None:
    (cut,) = [cut for cut in find_cuts(encoder(), every=True) if cut.id == "layers.0"]
    # Behind the projection: its three parts as one tensor, the mask, the skip connection.
    assert sent(cut) == [("uint8", (1, 8)), ("float32", (1, 8, 16)), ("float32", (1, 8, 48))]


def test_of_a_sequence_of_which_one_element_is_read_that_element_crosses() -> None:
    last = find_cuts(encoder(), every=True)[-2]
    assert sent(last) == [("float32", (1, 16))]


def test_heads_tails_and_stages_are_exact_whatever_form_crosses() -> None:
    graph = encoder()
    cuts = find_cuts(graph, every=True)
    assert set(verify(graph, cuts).values()) == {0.0}
    values = graph.example_inputs
    for start, end in pairwise(cuts):
        values = split.run(split.stage(graph, start, end), values)
    assert torch.equal(values[0], graph.run(*graph.example_inputs)[0])


def test_preparing_one_of_two_inputs_is_no_cut_of_its_own() -> None:
    ids = torch.arange(8)[None]
    graph = trace(Encoder().eval(), (ids, torch.ones(1, 8, dtype=torch.int64)))
    # The mask crosses as float32, half of its int64, but never with the ids alone.
    assert sent(find_cuts(graph, every=True)[1]) == [
        ("float32", (1, 1, 1, 8)), ("float32", (1, 8, 16)),
    ]  # fmt: skip


def test_preparing_an_input_is_no_cut_of_its_own() -> None:
    class Normal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.sigmoid(self.first((x - 0.5) / 0.25)))

    ids = [cut.id for cut in find_cuts(trace(Normal(), (torch.ones(1, 8),)), every=True)]
    assert ids == ["input", "first", "sigmoid", "output"]


def test_a_tuple_crosses_as_the_parts_that_are_read() -> None:
    class Top(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 64), nn.Linear(2, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.topk(self.first(x), 2).values)

    graph = trace(Top(), (torch.randn(1, 8),))
    cuts = find_cuts(graph, every=True)
    assert [sent(cut) for cut in cuts[1:-1]] == [[("float32", (1, 64))], [("float32", (1, 2))]]
    assert set(verify(graph, cuts).values()) == {0.0}
