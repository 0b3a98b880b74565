from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import ModelError
from mobilesplit.core.links import Link
from mobilesplit.segment.cheapest import find_cheapest
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.trace import Graph, trace
from mobilesplit.segment.verify import verify

LINK = Link.parse("uplink=10mbps,downlink=10mbps,rtt=0ms")


class TwoBranches(nn.Module):
    """A costly branch traced first, then one that makes a long input short; both are joined.

    The device should run the second alone, which no prefix of the order is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.costly = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
        self.shorten = nn.Linear(16384, 8)
        self.join = nn.Linear(520, 4)

    def forward(self, short: Tensor, long: Tensor) -> Tensor:
        return self.join(torch.cat([self.costly(short), self.shorten(long)], dim=1))


class EarlyExit(nn.Module):
    """Of a long input a short output that nothing else reads, and a long chain of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Linear(16384, 16)
        self.shorten = nn.Linear(16384, 64)
        self.costly = nn.Sequential(*(nn.Linear(64, 64) for _ in range(80)))

    def forward(self, long: Tensor) -> tuple[Tensor, Tensor]:
        return self.early(long), self.costly(self.shorten(long))


@pytest.fixture(scope="module")
def branches() -> Graph:
    return trace(TwoBranches(), (torch.randn(1, 512), torch.randn(1, 16384)))


def test_two_branches_are_divided_where_no_prefix_divides_them(branches: Graph) -> None:
    # Sending both inputs takes 54 ms, running the costly branch on the device 42 ms.
    found = find_cheapest(branches, device_gflops=0.1, cloud_gflops=1000, link=LINK)
    assert found.division.on_device == ("linear_8",)
    assert [spec.name for spec in found.division.boundary] == ["short", "linear_8"]
    assert found.division.head_ms == pytest.approx(2 * 16384 * 8 / 0.1e9 * 1e3)
    assert found.division.uplink_ms == pytest.approx((512 + 4 * 520) * 8 / 10e6 * 1e3)
    assert found.saved_ms > 30


def test_head_then_tail_of_the_division_equal_the_whole(branches: Graph) -> None:
    found = find_cheapest(branches, device_gflops=0.1, cloud_gflops=1000, link=LINK)
    cut = Cut(id="x", depth=1, boundary=found.division.boundary, head_flops=0, tail_flops=0)
    assert verify(branches, [cut]) == {"x": 0.0}


def test_an_output_in_front_of_the_division_crosses_as_at_the_cut_that_is_listed() -> None:
    graph = trace(EarlyExit(), (torch.randn(1, 16384),))
    # The long input takes 52 ms to send; the device 26 ms for what reads it, 6.6 ms for the rest.
    found = find_cheapest(graph, device_gflops=0.1, cloud_gflops=1000, link=LINK)
    assert found.division.on_device == ("linear", "linear_1")
    listed = next(cut for cut in find_cuts(graph, every=True) if cut.id == "shorten")
    assert [spec.name for spec in listed.boundary] == ["linear", "linear_1"]
    assert found.division.boundary == found.prefix.boundary == listed.boundary
    assert verify(graph, [listed]) == {"shorten": 0.0}
    # Both outputs come back, whatever side made them.
    assert found.division.downlink_ms == pytest.approx((80 * 4 + 512) * 8 / 10e6 * 1e3)


def test_a_model_without_countable_work_is_refused() -> None:
    pool = nn.Sequential(nn.ReLU(), nn.MaxPool1d(4))
    with pytest.raises(ModelError, match=r"no floating-point operations.*--max-flow"):
        find_cheapest(trace(pool, (torch.ones(1, 8),)), device_gflops=1, cloud_gflops=10, link=LINK)


def test_a_chain_has_no_division_that_beats_its_prefixes() -> None:
    chain = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 2048), nn.Linear(2048, 8))
    graph = trace(chain, (torch.randn(1, 256),))
    link = LINK.model_copy(update={"uplink_bps": 1e6})
    found = find_cheapest(graph, device_gflops=0.01, cloud_gflops=1000, link=link)
    assert found.saved_ms == 0
    assert found.division.on_device == ("linear", "relu")
    assert [spec.shape for spec in found.division.boundary] == [(1, 64)]


def test_a_slow_link_leaves_everything_on_the_device_and_a_fast_one_nothing(
    skip_graph: Graph,
) -> None:
    slow = Link.parse("uplink=1kbps,downlink=1kbps,rtt=100ms")
    stays = find_cheapest(skip_graph, device_gflops=1, cloud_gflops=1000, link=slow).division
    assert (len(stays.on_device), stays.boundary) == (stays.num_operators, ())
    assert (stays.uplink_ms, stays.tail_ms, stays.downlink_ms) == (0, 0, 0)
    fast = Link.parse("uplink=100gbps,downlink=100gbps,rtt=0ms")
    leaves = find_cheapest(skip_graph, device_gflops=0.001, cloud_gflops=1000, link=fast).division
    assert leaves.on_device == ()
    assert [spec.name for spec in leaves.boundary] == [skip_graph.inputs[0].name]


def test_the_terms_are_those_of_the_cost_model(skip_graph: Graph) -> None:
    link = Link.parse("uplink=100mbps,downlink=50mbps,rtt=10ms,jitter=4ms")
    found = find_cheapest(skip_graph, device_gflops=0.001, cloud_gflops=1, link=link).division
    assert found.uplink_ms == pytest.approx((3 * 32 * 32 * 4 + 512) * 8 / 100e6 * 1e3 + 5 + 2)
    assert found.downlink_ms == pytest.approx((5 * 4 + 512) * 8 / 50e6 * 1e3 + 5 + 2)
    assert found.tail_ms == pytest.approx(skip_graph.total_flops / 1e9 * 1e3)
