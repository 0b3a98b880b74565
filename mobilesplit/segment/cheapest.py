"""The cheapest division of a Graph for given speeds and a given link, and the best prefix cut.

All of it is *predicted* from counts: an operator takes its FLOPs over the side's speed, and
nothing else (no memory traffic, no codec). The speeds are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from mobilesplit.core.errors import ModelError
from mobilesplit.core.links import Link
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.schedule.cost import FRAMING_BYTES
from mobilesplit.segment.boundary import value_trees
from mobilesplit.segment.min_cut import (
    Costs,
    Root,
    Value,
    cheapest_division,
    cheapest_prefix,
    price,
)
from mobilesplit.segment.trace import Graph, spec_of

_PS_PER_MS = 1e9
_PS_PER_S = 1e12


@dataclass(frozen=True)
class Division:
    """A way to divide the model, with its predicted latency, in ms."""

    on_device: tuple[str, ...]
    """Operators that run on the device, in the order of the graph; those that only rearrange run
    where their values are read and are not named."""
    num_operators: int
    """How many there are to run on either side."""
    boundary: tuple[TensorSpec, ...]
    """What crosses the link; empty if nothing does."""
    head_ms: float
    uplink_ms: float
    tail_ms: float
    downlink_ms: float

    @property
    def total_ms(self) -> float:
        """One term after the other."""
        return self.head_ms + self.uplink_ms + self.tail_ms + self.downlink_ms

    @property
    def boundary_nbytes(self) -> int:
        """Bytes that cross it uncompressed."""
        return sum(spec.nbytes for spec in self.boundary)


@dataclass(frozen=True)
class Cheapest:
    """What maximum flow found, and what cutting the order of the operators in two finds."""

    division: Division
    """The cheapest of all divisions of the graph."""
    prefix: Division
    """The cheapest among those that divide the order, whatever number of tensors crosses."""

    @property
    def saved_ms(self) -> float:
        """By how much the division beats the prefix; 0 if the prefix is as good."""
        same = set(self.division.on_device) == set(self.prefix.on_device)
        return 0.0 if same else self.prefix.total_ms - self.division.total_ms


def find_cheapest(
    graph: Graph, *, device_gflops: float, cloud_gflops: float, link: Link
) -> Cheapest:
    """The least predicted latency, by minimum cut, beside that of the best prefix cut.

    A message costs as in schedule/cost.py: bytes and framing over the rate, half a round trip and
    the mean jitter. Values cross uncompressed. The cloud returns all outputs if it computes any
    of the model, as the tails of segment/split.py do: those that the device computes cross too.

    Args:
        device_gflops: 10^9 floating-point operations that the device does in a second.
        cloud_gflops: the same of the cloud.

    Raises:
        ModelError: torch counts no operation in the model, so nothing would take any time.
    """
    if graph.total_flops == 0:
        raise ModelError(
            "torch counts no floating-point operations in this model: there is no time to predict.",
            next_step="Leave out --max-flow.",
        )
    trees = value_trees(graph)
    working = [root for root in trees.roots if root.op != "placeholder"]
    index_of = {node: index for index, node in enumerate(working)}
    readers: dict[fx.Node, list[int]] = {}
    for node, index in index_of.items():
        for source in node.all_input_nodes:
            readers.setdefault(source, []).append(index)

    def value_of(node: fx.Node) -> Value:
        spec = spec_of(node)
        nbytes = 0 if spec is None else spec.nbytes
        return Value(
            name=node.name,
            send_ps=None if spec is None else _transfer_ps(nbytes, link.uplink_bps),
            is_output=node in graph.outputs,
            readers=tuple(readers.get(node, ())),
            forms=tuple(value_of(form) for form in trees.forms.get(node, ())),
        )

    outputs = [spec for node in graph.outputs if (spec := spec_of(node))]
    answer_nbytes = FRAMING_BYTES + sum(spec.nbytes for spec in outputs)
    delay_ps = round((link.rtt_ms + link.jitter_ms) / 2 * _PS_PER_MS)
    costs = Costs(
        device_ps=tuple(round(graph.flops[node] * 1e3 / device_gflops) for node in working),
        cloud_ps=tuple(round(graph.flops[node] * 1e3 / cloud_gflops) for node in working),
        roots=tuple(Root(index_of.get(root), value_of(root)) for root in trees.roots),
        request_ps=_transfer_ps(FRAMING_BYTES, link.uplink_bps) + delay_ps,
        answer_ps=_transfer_ps(answer_nbytes, link.downlink_bps) + delay_ps,
    )

    specs = {
        node.name: spec for node in (*graph.inputs, *graph.operators) if (spec := spec_of(node))
    }

    def division(on_device: frozenset[int]) -> Division:
        found = price(costs, on_device)
        return Division(
            on_device=tuple(working[index].name for index in sorted(on_device)),
            num_operators=len(working),
            boundary=tuple(specs[value.name] for value in found.sent),
            head_ms=found.head_ps / _PS_PER_MS,
            uplink_ms=found.uplink_ps / _PS_PER_MS,
            tail_ms=found.tail_ps / _PS_PER_MS,
            downlink_ms=found.downlink_ps / _PS_PER_MS,
        )

    return Cheapest(division(cheapest_division(costs)), division(cheapest_prefix(costs)))


def _transfer_ps(nbytes: int, rate_bps: float) -> int:
    return round(nbytes * 8 / rate_bps * _PS_PER_S)
