"""What is known of a tensor without holding it: name, dtype, shape, bytes."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from mobilesplit.core.documents import Document

DType = Literal["float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]

ITEMSIZE: dict[str, int] = {
    "float32": 4, "float16": 2, "float64": 8, "int8": 1, "uint8": 1,
    "int16": 2, "int32": 4, "int64": 8, "bool": 1,
}  # fmt: skip


class TensorSpec(Document):
    """A tensor at a boundary; ``shape`` is in elements, row-major, batch first."""

    name: str
    """Name of the value in the traced graph."""
    dtype: DType
    """Element type, by torch's name."""
    shape: tuple[int, ...] = Field(max_length=8)
    """Elements per dimension."""

    @property
    def nbytes(self) -> int:
        """Size of the raw elements in bytes."""
        return math.prod(self.shape) * ITEMSIZE[self.dtype]
