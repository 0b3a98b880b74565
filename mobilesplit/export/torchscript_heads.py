"""Heads as TorchScript files, one of each runtime for every cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from torch import Tensor

from mobilesplit.core.cuts import INPUT, Cut
from mobilesplit.core.manifest import BundleCut
from mobilesplit.export.kinds import CheckedHeads, Progress
from mobilesplit.export.scripts import ScriptedHead, script_heads
from mobilesplit.export.verification import Head, Reference, Tails, check_head, check_input
from mobilesplit.segment.trace import Graph


class TorchscriptHeads:
    """The heads of one graph; a `kinds.HeadKind`."""

    def __init__(self, graph: Graph, cuts: Sequence[Cut]) -> None:
        scripted, dropped = script_heads(graph, cuts)
        self._scripted = {head.cut.id: head for head in scripted}
        self._dropped = dict(dropped)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Cuts whose head TorchScript cannot hold, with why."""
        return self._dropped

    @property
    def way_out(self) -> str:
        """What to try where the whole model does not hold as TorchScript."""
        return "Use --format executorch."

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check(
        self, cuts: Sequence[Cut], tails: Tails, reference: Reference, progress: Progress
    ) -> CheckedHeads:
        """Run each head from the bytes of both its files, then its tail."""
        entries, wrong = [], {}
        files: dict[str, Callable[[Path], None]] = {}
        for index, cut in enumerate(cuts):
            progress(f"run {cut.id} and compare ({index + 1}/{len(cuts)})")
            entry, why = self._check(cut, index, tails, reference)
            if cut.id != INPUT:
                scripts = self._scripted[cut.id].files(f"heads/{index:02}")
                files.update(scripts)
                entry = entry.model_copy(update={"scripts": tuple(scripts)})
            entries.append(entry)
            if why is not None:
                wrong[cut.id] = why
        return CheckedHeads(tuple(entries), wrong, files, program=None)

    def _check(
        self, cut: Cut, index: int, tails: Tails, reference: Reference
    ) -> tuple[BundleCut, str | None]:
        if cut.id == INPUT:
            return check_input(Head(cut), tails, reference)
        checked = [
            check_head(
                Head(cut), index, None, _reloaded(self._scripted[cut.id], place), tails, reference
            )
            for place in range(2)
        ]
        # The worse of the two files speaks for the cut.
        return max(checked, key=lambda result: result[0].max_abs_error)


def _reloaded(
    head: ScriptedHead, place: int
) -> Callable[[str | None, Sequence[Sequence[Tensor]]], list[tuple[Tensor, ...]]]:
    """Runs the file at ``place`` (``.pt``, ``.ptl``) as `verification.check_head` wants it."""
    return lambda _, many: [head.run_reloaded(inputs)[place] for inputs in many]
