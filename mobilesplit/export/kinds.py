"""The kinds of heads an export can make: ExecuTorch's, float or int8, and TorchScript's.

Each is a context: entering begins the work that takes long, leaving ends whatever is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from mobilesplit.core.cuts import Cut
from mobilesplit.core.manifest import BundleCut, Quantization
from mobilesplit.export.bundle import Writer
from mobilesplit.export.verification import Reference, TailRunner

Progress = Callable[[str], None]


@dataclass(frozen=True)
class CheckedHeads:
    """Heads that were run, and what a bundle says of them."""

    entries: tuple[BundleCut, ...]
    """By depth; worth nothing where ``wrong`` is not empty."""
    wrong: dict[str, str]
    """Ids of cuts that do not hold as exported, with why."""
    files: dict[str, Writer]
    """Who writes each file of the heads."""
    program: str | None
    """Which of them is the ExecuTorch program."""
    ran_here: bool = True
    """See ``Manifest.ran_here``."""
    quantization: Quantization | None = None
    """None for float heads."""
    notices: tuple[str, ...] = ()
    """What else whoever exports should know."""


class HeadKind(Protocol):
    """How heads are made and checked."""

    @property
    def left_out(self) -> Mapping[str, str]:
        """Ids of cuts that cannot be had in this kind, with why."""
        ...

    @property
    def way_out(self) -> str:
        """What to try where the whole model does not hold in this kind."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def check(
        self, cuts: Sequence[Cut], tails: TailRunner, reference: Reference, progress: Progress
    ) -> CheckedHeads:
        """Make the heads of ``cuts`` (of the float graph), run each with its tail and compare.

        Raises:
            ModelError: the model cannot be had in this kind at all.
        """
        ...
