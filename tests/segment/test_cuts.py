from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobilesplit.core.cuts import INPUT, OUTPUT
from mobilesplit.segment.cuts import find_cuts, search_cuts
from mobilesplit.segment.trace import Graph, trace


class Shapes(nn.Module):
    """Free operators (view, dropout, transpose) between two layers that work."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.5)
        self.second = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.first(x)).view(2, 4).transpose(0, 1).reshape(2, 4)
        return self.second(x)


class Constants(nn.Module):
    """A table that no input goes into, computed in front and used behind everything."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        table = torch.arange(8) * 2.0
        return self.layers(x) + table


class SharedLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self._layer(self._layer(self._layer(x)))


class Attends(nn.Module):
    """A transformer's layers: both of their skips end in an addition of the layer itself."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.LayerNorm(16), nn.LayerNorm(16)
            self.qkv, self.mix = nn.Linear(16, 48), nn.Linear(16, 16)
            self.mlp = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(self.before(x)).chunk(3, dim=-1)
            x = x + self.mix(nn.functional.scaled_dot_product_attention(q, k, v))
            return x + self.mlp(self.after(x))

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, stride=4)
        self.layers = nn.Sequential(*(self.Layer() for _ in range(3)))
        self.classify = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        return self.classify(self.layers(self.embed(image).flatten(2).transpose(1, 2)).mean(1))


class SixReadings(nn.Module):
    """Six small results of its input are read at the end: six tensors cross in front of it."""

    def __init__(self) -> None:
        super().__init__()
        self.readings = nn.ModuleList(nn.Linear(64, 2) for _ in range(6))
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([torch.tanh(reading(x)) for reading in self.readings], 1))


def test_the_ends_are_always_there(skip_graph: Graph) -> None:
    first, last = find_cuts(skip_graph, max_cuts=2)
    assert (first.id, first.device_share, last.id, last.device_share) == (INPUT, 0.0, OUTPUT, 1.0)
    assert [spec.shape for spec in first.boundary] == [(1, 3, 32, 32)]
    assert [spec.shape for spec in last.boundary] == [(1, 5)]


def test_a_cut_inside_a_skip_has_both_branches_as_boundary(skip_graph: Graph) -> None:
    cuts = {cut.id: cut for cut in find_cuts(skip_graph, every=True)}
    assert len(cuts["left"].boundary) == 2
    assert len(cuts["stem"].boundary) == 1
    assert "left" not in {
        cut.id for cut in find_cuts(skip_graph, every=True, max_boundary_tensors=1)
    }


def test_a_cut_that_a_smaller_one_beats_nearby_is_not_listed(skip_graph: Graph) -> None:
    slack = 0.02
    kept = find_cuts(skip_graph, slack=slack)
    every = find_cuts(skip_graph, every=True)
    for cut in kept[1:-1]:
        near = [o for o in every if abs(o.device_share - cut.device_share) <= slack]
        assert cut.boundary_nbytes == min(other.boundary_nbytes for other in near)
    # Inside the skip nothing smaller is near; behind ``right``, its sum is.
    assert [cut.id for cut in kept] == [INPUT, "stem", "relu", OUTPUT]


def test_free_operators_make_no_cut_of_their_own() -> None:
    cuts = find_cuts(trace(Shapes(), (torch.ones(1, 8),)), every=True)
    assert [cut.id for cut in cuts] == [INPUT, "first", OUTPUT]


def test_what_depends_on_no_input_never_crosses() -> None:
    cuts = find_cuts(trace(Constants(), (torch.ones(1, 8),)), every=True)
    assert all(len(cut.boundary) == 1 for cut in cuts)


def test_ids_are_unique_where_a_module_runs_several_times() -> None:
    cuts = find_cuts(trace(SharedLayer(), (torch.ones(1, 8),)), every=True)
    assert [cut.id for cut in cuts] == [INPUT, "layer", "layer.2", OUTPUT]


@pytest.mark.parametrize("model", [SharedLayer(), Attends(), SixReadings(), None])
def test_an_id_means_the_same_place_whatever_is_kept(
    model: nn.Module | None, skip_graph: Graph
) -> None:
    inputs = {SharedLayer: (1, 8), Attends: (1, 3, 16, 16), SixReadings: (1, 64)}
    graph = skip_graph if model is None else trace(model, (torch.ones(inputs[type(model)]),))
    places = {cut.id: cut.boundary for cut in find_cuts(graph, every=True)}
    ways = [{"max_cuts": count} for count in range(2, len(places) + 1)]
    ways += [{"max_boundary_tensors": count} for count in range(1, 7)]
    for way in ways:
        kept = {cut.id: cut.boundary for cut in find_cuts(graph, slack=0.001, **way)}
        assert kept.items() <= places.items()


def test_a_modules_path_is_where_it_ends_and_places_inside_have_their_operators_name() -> None:
    cuts = find_cuts(trace(Attends(), (torch.ones(1, 3, 16, 16),)), every=True)
    ids = [cut.id for cut in cuts]
    start = ids.index("layers.0")
    assert ids[start + 1 : ids.index("layers.1") + 1] == [
        "layers.1.before", "layers.1.qkv", "layers.1.scaled_dot_product_attention_1",
        "layers.1.mix", "layers.1.add_2", "layers.1.after", "layers.1.mlp.0", "layers.1.mlp.1",
        "layers.1.mlp", "layers.1",
    ]  # fmt: skip


@pytest.mark.parametrize("max_cuts", [2, 3, 4])
def test_no_more_cuts_than_asked_for(skip_graph: Graph, max_cuts: int) -> None:
    cuts = find_cuts(skip_graph, max_cuts=max_cuts)
    assert len(cuts) <= max_cuts
    assert [cut.depth for cut in cuts] == list(range(len(cuts)))
    shares = [cut.device_share for cut in cuts]
    assert shares == sorted(shares)


def test_a_model_without_countable_work_has_cuts_too() -> None:
    pool = nn.Sequential(nn.ReLU(), nn.MaxPool1d(4), nn.ReLU())
    cuts = find_cuts(trace(pool, (torch.ones(1, 8),)))
    assert [(cut.id, cut.boundary_nbytes) for cut in cuts] == [
        (INPUT, 32), ("0", 32), ("1", 8), (OUTPUT, 8),
    ]  # fmt: skip


def test_what_the_limit_leaves_out_is_counted_and_the_limit_that_would_do_is_named(
    skip_graph: Graph,
) -> None:
    found = search_cuts(skip_graph, every=True, max_boundary_tensors=1)
    everything = find_cuts(skip_graph, every=True)
    assert found.num_over_limit == sum(len(cut.boundary) == 2 for cut in everything)
    assert found.notice is None  # there are others


def test_every_place_is_listed_unless_a_limit_is_given() -> None:
    graph = trace(SixReadings(), (torch.ones(1, 64),))
    everything = search_cuts(graph, every=True)
    assert max(len(cut.boundary) for cut in everything.cuts) == 6
    assert everything.num_over_limit == 0
    limited = search_cuts(graph, every=True, max_boundary_tensors=4)
    assert limited.num_over_limit == len(everything.cuts) - len(limited.cuts) > 0
    assert search_cuts(graph).num_over_limit == limited.num_over_limit  # 4 is the usual limit


def test_no_worthwhile_cut_is_said_with_the_next_step() -> None:
    found = search_cuts(trace(nn.Sequential(nn.Linear(8, 8)), (torch.ones(1, 8),)))
    assert [cut.id for cut in found.cuts] == [INPUT, OUTPUT]
    assert found.notice is not None
    assert found.notice.startswith("No worthwhile cut") and "--all" in found.notice


def test_work_that_no_output_needs_makes_no_cut_and_does_not_count() -> None:
    class Discards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.last = (nn.Linear(8, 8) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.used(x)
            self.unused(x)
            return self.last(x)

    graph = trace(Discards(), (torch.ones(1, 8),))
    assert graph.total_flops == 2 * (2 * 8 * 8)
    assert [cut.id for cut in find_cuts(graph, every=True)] == [INPUT, "used", OUTPUT]


def test_attention_counts_as_work() -> None:
    class Attends(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    # Two products of 16 x 8 by 8 x 16, for each of two heads.
    assert trace(Attends(), (torch.ones(1, 2, 16, 8),)).total_flops == 2 * 2 * (2 * 16 * 16 * 8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("model", [nn.Identity(), nn.Flatten(), nn.ReLU()])
def test_a_model_without_a_place_between_its_ends_has_its_two_ends(model: nn.Module) -> None:
    cuts = find_cuts(trace(model, (torch.ones(1, 2, 2),)))
    assert [cut.id for cut in cuts] == [INPUT, OUTPUT]
