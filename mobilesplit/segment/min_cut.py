"""The cheapest division of a DAG between device and cloud, by minimum cut.

Pure: operators are numbers in topological order, costs are whole picoseconds. The construction is
that of DADS (Hu et al., "Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge",
IEEE INFOCOM 2019): the device is the source, the cloud the sink; an operator costs its cloud time
on one side and its device time on the other; a value is sent at most once, however many operators
read it, which takes a node of its own; data goes from the device to the cloud and never back,
which takes infinite edges from readers to producers. Added here: values that are made of another
at no cost are made on either side, so a value may cross in any of its forms; and the model's
outputs are read in the cloud, which returns all of them, whatever side computed them.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass

import networkx as nx

_DEVICE = "device"
_CLOUD = "cloud"


@dataclass(frozen=True)
class Value:
    """A tensor, or something else that operators pass on."""

    name: str
    send_ps: int | None
    """Time on the uplink; None if it cannot cross."""
    readers: tuple[int, ...] = ()
    """The operators that read it."""
    is_output: bool = False
    """Whether the cloud returns it: if any operator runs there, it has to have it."""
    forms: tuple[Value, ...] = ()
    """Values that are made of it on either side at no cost."""


@dataclass(frozen=True)
class Root:
    """A value that has to be computed, or one of the model's inputs."""

    producer: int | None
    """The operator that computes it; None for an input, which the device has."""
    value: Value


@dataclass(frozen=True)
class Costs:
    """What each side takes for each operator, and each value to cross."""

    device_ps: tuple[int, ...]
    cloud_ps: tuple[int, ...]
    roots: tuple[Root, ...]
    request_ps: int
    """Time of an empty message to the cloud, paid once if any operator runs there."""
    answer_ps: int
    """Time of the message back, with all outputs, likewise."""


@dataclass(frozen=True)
class Price:
    """The terms of one division. ``math.inf`` where something crosses that cannot."""

    head_ps: int
    uplink_ps: float
    tail_ps: int
    downlink_ps: int
    sent: tuple[Value, ...]
    """What crosses, in the order of the roots."""

    @property
    def total_ps(self) -> float:
        """All four terms, one after the other."""
        return self.head_ps + self.uplink_ps + self.tail_ps + self.downlink_ps


def price(costs: Costs, on_device: Set[int]) -> Price:
    """What the division costs in which ``on_device`` run on the device and all others do not.

    ``on_device`` has with every operator all that it reads from.
    """
    operators = range(len(costs.device_ps))
    head_ps = sum(costs.device_ps[index] for index in on_device)
    if len(on_device) == len(operators):
        return Price(head_ps, 0, 0, 0, ())
    uplink_ps: float = costs.request_ps
    sent: list[Value] = []
    for root in costs.roots:
        if root.producer is None or root.producer in on_device:
            root_ps, values = _cheapest_forms(root.value, on_device)
            uplink_ps += root_ps
            sent += values
    return Price(
        head_ps=head_ps,
        uplink_ps=uplink_ps,
        tail_ps=sum(costs.cloud_ps[index] for index in operators if index not in on_device),
        downlink_ps=costs.answer_ps,
        sent=tuple(sent),
    )


def cheapest_division(costs: Costs) -> frozenset[int]:
    """The operators that run on the device in the cheapest division; of equals, the most."""
    everything = frozenset(range(len(costs.device_ps)))
    _, (device_side, _) = nx.minimum_cut(_network(costs), _DEVICE, _CLOUD)
    found = frozenset(index for index in everything if index in device_side)
    # Whether there are messages at all is not in the network: everything that uses the cloud pays
    # the same for them, so only what does not is left to compare. It sends no outputs either.
    return min(everything, found, key=lambda on_device: price(costs, on_device).total_ps)


def cheapest_prefix(costs: Costs) -> frozenset[int]:
    """The operators on the device in the cheapest division that cuts the order in two."""
    prefixes = [frozenset(range(end)) for end in range(len(costs.device_ps) + 1)]
    return min(reversed(prefixes), key=lambda on_device: price(costs, on_device).total_ps)


def _cheapest_forms(value: Value, on_device: Set[int]) -> tuple[float, list[Value]]:
    """The cheapest way to bring to the cloud what its operators read of ``value``."""
    itself = math.inf if value.send_ps is None else value.send_ps
    if value.is_output or any(reader not in on_device for reader in value.readers):
        return itself, [value]
    total: float = 0
    forms: list[Value] = []
    for form in value.forms:
        form_ps, needed = _cheapest_forms(form, on_device)
        total += form_ps
        forms += needed
    return (itself, [value]) if forms and itself <= total else (total, forms)


def _network(costs: Costs) -> nx.DiGraph:
    """Edges whose tail is on the device and whose head is in the cloud are paid for."""
    network = nx.DiGraph()
    network.add_nodes_from((_DEVICE, _CLOUD))
    for index, (device_ps, cloud_ps) in enumerate(
        zip(costs.device_ps, costs.cloud_ps, strict=True)
    ):
        network.add_edge(_DEVICE, index, capacity=cloud_ps)
        network.add_edge(index, _CLOUD, capacity=device_ps)
    num_values = 0

    def add_value(value: Value, source: str | int | tuple[int], producer: int | None) -> None:
        # The node is in the cloud as soon as the cloud has the value: then it was sent, unless
        # what it is made of is there.
        nonlocal num_values
        node = (num_values,)
        num_values += 1
        _add(network, source, node, value.send_ps)
        for reader in value.readers:
            network.add_edge(node, reader)  # no capacity: infinite
            if producer is not None:
                network.add_edge(reader, producer)
        if value.is_output:
            network.add_edge(node, _CLOUD)
        for form in value.forms:
            add_value(form, node, producer)

    for root in costs.roots:
        source = _DEVICE if root.producer is None else root.producer
        add_value(root.value, source, root.producer)
    return network


def _add(network: nx.DiGraph, start: object, end: object, capacity: int | None) -> None:
    if capacity is None:
        network.add_edge(start, end)
    else:
        network.add_edge(start, end, capacity=capacity)
