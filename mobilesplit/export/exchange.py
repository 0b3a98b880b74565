"""What a process and its lowering workers say to each other over pipes.

The rule: only between a process and the children that it started itself: tasks are pickled.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import IO, Literal

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Task:
    """Something to lower."""

    program: bytes
    """A marked program, as ``torch.export.save`` wrote it."""
    backend: Literal["xnnpack", "vulkan", "portable"]
    first_stage: int

    def save(self) -> bytes:
        """The task as bytes."""
        return pickle.dumps(self)

    @classmethod
    def load(cls, data: bytes) -> Task:
        """What ``save`` wrote, in a child."""
        task = pickle.loads(data)  # noqa: S301  # see the module's rule
        assert isinstance(task, Task)
        return task


def write_message(pipe: IO[bytes], data: bytes) -> None:
    """Send ``data`` whole."""
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> bytes | None:
    """The next message; None when the other side has ended, in the middle of one too."""
    prefix = pipe.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(prefix)
    data = pipe.read(length)
    return data if len(data) == length else None
