"""A cut: a place where the graph may be divided."""

from __future__ import annotations

from pydantic import Field

from mobilesplit.core.documents import Document
from mobilesplit.core.tensors import TensorSpec

INPUT = "input"
"""Id of the cut with nothing on the device."""
OUTPUT = "output"
"""Id of the cut with nothing in the cloud."""


class Cut(Document):
    """One place to divide the graph: what is in front of it is the head, behind it the tail."""

    id: str
    """``input``, ``output``, or the module path of the last operator in front of it."""
    depth: int = Field(ge=0)
    """Position in the list of cuts, 0 for ``input``."""
    boundary: tuple[TensorSpec, ...]
    """The tensors that cross it, in the order the head returns and the tail takes them."""
    head_flops: int = Field(ge=0)
    """Floating-point operations in front of it, batch 1 (a multiply-add is two)."""
    tail_flops: int = Field(ge=0)
    """Floating-point operations behind it, batch 1."""

    @property
    def boundary_nbytes(self) -> int:
        """Bytes that cross it uncompressed."""
        return sum(spec.nbytes for spec in self.boundary)

    @property
    def device_share(self) -> float:
        """Share of the model's work in front of it, 0 to 1."""
        total = self.head_flops + self.tail_flops
        return self.head_flops / total if total else 0.0
