"""Marked programs to the edge dialect and its delegates: what takes the time of an export.

The rule: lower once. A delegate never reaches over a mark, so the lowered program can be taken
apart at every cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.ao.quantization.fx._decomposed  # noqa: F401  # registers quantized_decomposed
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.backends.xnnpack import xnnpack_preprocess
from executorch.backends.xnnpack._passes import XNNPACKPassManager
from executorch.backends.xnnpack._passes.convert_to_sdpa import ConvertToSDPAPass
from executorch.backends.xnnpack._passes.convert_to_upsample_bilinear2d import (
    ConvertToUpsampleBilinear2d,
)
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.backend.partitioner import Partitioner, PartitionResult
from executorch.exir.backend.utils import tag_constant_data
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch import fx
from torch.export import ExportedProgram
from torch.fx.traceback import NodeSource

from mobilesplit.export.boundaries import is_mark, stages_of
from mobilesplit.export.coverage import count_operators
from mobilesplit.export.lowered import Lowered
from mobilesplit.export.settings import Backend

_PARTITIONERS: dict[Backend, Callable[[], Partitioner] | None] = {
    "xnnpack": XnnpackPartitioner,
    "vulkan": VulkanPartitioner,
    "portable": None,
}
_TAG = "delegation_tag"
_PATTERNS = {
    ConvertToUpsampleBilinear2d: ("upsample", "interpolate"),
    ConvertToSDPAPass: ("softmax", "scaled_dot_product"),
}
"""Passes that look for a pattern, with what the names of operators that become it contain."""


def lower(program: ExportedProgram, backend: Backend, *, first_stage: int = 0) -> Lowered:
    """Lower ``program``, whose marks are left in place.

    Args:
        backend: ``portable`` delegates nothing.
        first_stage: the stage of what lies in front of every mark.
    """
    make = _PARTITIONERS[backend]
    partitioners = [_StageByStage(make(), first_stage)] if make else []
    with _provenance_uncopied(), _useful_passes(program):
        manager = to_edge_transform_and_lower(program, partitioner=partitioners)
    lowered = manager.exported_program()
    operators = {
        str(node.target): count_operators(delegate.original_module.graph)
        for node in lowered.graph.find_nodes(op="get_attr")
        if isinstance(
            delegate := getattr(lowered.graph_module, str(node.target)), LoweredBackendModule
        )
    }
    return Lowered.of(lowered, operators)


@contextmanager
def _provenance_uncopied() -> Iterator[None]:
    """Nodes share the record of where they came from, which torch copies whole at every pass.

    Nobody writes to it once it is made, and it takes a tenth of the time of lowering. A private
    class: without it lowering is only slower.
    """
    with _replaced(NodeSource, "__deepcopy__", lambda self, _memo: self):
        yield


@contextmanager
def _useful_passes(program: ExportedProgram) -> Iterator[None]:
    """XNNPACK's passes without those whose pattern cannot be in ``program``.

    Each of them first traces the pattern that it looks for, which takes a second or two in every
    process. A private name: see ``_provenance_uncopied``.
    """
    names = {str(node.target) for node in program.graph.nodes}
    useless = [
        transform
        for transform, words in _PATTERNS.items()
        if not any(word in name for name in names for word in words)
    ]

    class Passes(XNNPACKPassManager):  # type: ignore[misc]  # executorch has no types
        def __init__(self, exported_program: ExportedProgram, passes: Any = None) -> None:
            super().__init__(exported_program, passes)
            self.passes: list[Any] = [each for each in self.passes if each not in useless]

    with _replaced(xnnpack_preprocess, "XNNPACKPassManager", Passes):
        yield


@contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """``owner`` with another attribute, of its own or none before (torch 2.13, executorch 1.5)."""
    missing = object()
    before = vars(owner).get(name, missing)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


class _StageByStage(Partitioner):  # type: ignore[misc]  # executorch has no types
    """Another partitioner, whose partitions are divided where they reach into several stages.

    A mark keeps what it separates apart; this also parts branches that no mark lies between.
    Each part stays convex: a stage is an interval of the topological order.
    """

    def __init__(self, inner: Partitioner, first_stage: int) -> None:
        super().__init__()
        self._inner = inner
        self._first_stage = first_stage

    def ops_to_not_decompose(
        self, ep: ExportedProgram
    ) -> tuple[list[Any], Callable[[fx.Node], bool] | None]:
        kept, wanted = self._inner.ops_to_not_decompose(ep)
        return kept, wanted

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        result = self._inner.partition(exported_program)
        program = result.tagged_exported_program
        inputs = program.graph_signature.user_inputs
        stages = stages_of(program.graph, inputs, self._first_stage)
        tags = {}
        for node in program.graph.nodes:
            tag = node.meta.pop(_TAG, None)
            if tag is None or node.op == "placeholder" or is_mark(node.target):
                continue
            node.meta[_TAG] = f"{tag}_stage{stages[node]}"
            tags[node.meta[_TAG]] = result.partition_tags[tag]
        tag_constant_data(program)
        return PartitionResult(tagged_exported_program=program, partition_tags=tags)
