"""Heads as TorchScript files, one of each runtime for every cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from mobilesplit.core.cuts import INPUT, Cut
from mobilesplit.core.manifest import BundleCut
from mobilesplit.export.bundle import Writer
from mobilesplit.export.kinds import CheckedHeads, Progress
from mobilesplit.export.scripts import script_heads
from mobilesplit.export.verification import (
    Checked,
    Head,
    Reference,
    TailRunner,
    check_head,
    check_input,
)
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
        self, cuts: Sequence[Cut], tails: TailRunner, reference: Reference, progress: Progress
    ) -> CheckedHeads:
        """Run each head from the bytes of both its files, then its tail."""
        entries: list[BundleCut] = []
        wrong: dict[str, str] = {}
        files: dict[str, Writer] = {}
        for index, cut in enumerate(cuts):
            progress(f"run {cut.id} and compare ({index + 1}/{len(cuts)})")
            if cut.id == INPUT:
                entries.append(check_input(Head(cut), tails, reference).entry)
                continue
            checked = self._check(cut, index, tails, reference)
            method = f"{index:02}"
            scripts = self._scripted[cut.id].files(f"heads/{method}")
            files.update(scripts)
            named = {"scripts": tuple(scripts), "method": method}
            entries.append(checked.entry.model_copy(update=named))
            if checked.wrong is not None:
                wrong[cut.id] = checked.wrong
        return CheckedHeads(tuple(entries), wrong, files, program=None)

    def _check(self, cut: Cut, index: int, tails: TailRunner, reference: Reference) -> Checked:
        """The worse of the two files speaks for the cut."""
        boundaries = self._scripted[cut.id].run_reloaded(reference.inputs[0])
        checked = [
            check_head(Head(cut), index, None, lambda *_, b=b: [b], tails, reference)
            for b in boundaries
        ]
        return max(checked, key=lambda one: one.entry.max_relative_error)
