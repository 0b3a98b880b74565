"""Heads as methods of one ExecuTorch program: float for any backend, int8 for XNNPACK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

import torch
from torch import Tensor

from mobilesplit.core.cuts import INPUT, Cut
from mobilesplit.core.manifest import BundleCut, Quantization, Scale
from mobilesplit.export.calibration import digest
from mobilesplit.export.composition import compose
from mobilesplit.export.heads import Lowering, Program
from mobilesplit.export.kinds import CheckedHeads, Progress
from mobilesplit.export.quantize import quantize, quantized_cuts
from mobilesplit.export.settings import ExportSettings
from mobilesplit.export.verification import (
    Checked,
    Head,
    Heads,
    Reference,
    TailRunner,
    check_head,
    check_input,
    check_stage,
)
from mobilesplit.export.workers import Workers, num_workers
from mobilesplit.segment.trace import Graph

PROGRAM = "heads.pte"
_GROUPS_PER_PROCESS = 2
"""More and smaller groups than processes, so that all have done at about the same time."""


class ExecutorchHeads:
    """The heads of one graph; a `kinds.HeadKind`.

    Args:
        calibration: those of the settings' to quantize with; None leaves the heads float.
    """

    def __init__(
        self,
        graph: Graph,
        cuts: Sequence[Cut],
        settings: ExportSettings,
        calibration: Sequence[Sequence[Tensor]] | None,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._graph = graph
        self._cuts = {cut.id: cut for cut in cuts}
        self._scales: dict[str, tuple[Scale | None, ...]] = {}
        self._quantization: Quantization | None = None
        self._dropped: dict[str, str] = {}
        if calibration is not None:
            self._quantize(calibration)
        self._workers = Workers(num_workers(len(graph.operators), settings.jobs))
        self._exit = ExitStack()
        self._lowerings: list[Lowering] = []
        self._finished = False

    @property
    def left_out(self) -> Mapping[str, str]:
        """Cuts that the int8 graph cannot be divided at, with why."""
        return self._dropped

    @property
    def way_out(self) -> str:
        """What to try where the whole model does not hold in ExecuTorch."""
        if self._quantization is not None:
            return "Give --calibration more inputs, lower --min-snr-db, or leave out --quantize."
        if self._settings.backend == "portable":
            return "Use --format torchscript."
        return "Try --backend portable."

    def __enter__(self) -> Self:
        self._exit.enter_context(self._workers)
        if self._workers.count:
            # The cores are spoken for: torch's idle threads would spin against the workers.
            self._exit.enter_context(_one_thread())
        backends = [self._settings.backend]
        if not self._runs_here:
            backends.append("portable")
        cuts = [cut for cut in self._cuts.values() if cut.id not in self._dropped]
        num_groups = _GROUPS_PER_PROCESS * self._workers.count + 1
        with self._exit.pop_all() as started:  # which ends them again if this fails
            for backend in backends:
                composition = compose(cuts, num_groups=num_groups, delegates=backend != "portable")
                self._lowerings.append(Lowering(self._graph, cuts, composition, backend))
                self._lowerings[-1].begin(self._workers)
            self._exit = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def check(
        self, cuts: Sequence[Cut], tails: TailRunner, reference: Reference, progress: Progress
    ) -> CheckedHeads:
        """Compose the heads of ``cuts`` and run each, with its encoders and its tail."""
        if not self._finished:
            for lowering in self._lowerings:
                lowering.finish(progress)
            self._exit.close()  # the workers' memory is free for what comes
            self._finished = True
        progress(f"compose {len(cuts) - 1} heads")
        ids = [cut.id for cut in cuts]
        programs = [lowering.program(ids, self._settings.codecs) for lowering in self._lowerings]
        written, runnable = programs[0], programs[-1]
        heads = Heads(runnable.pte)
        checked: list[Checked] = []
        wrong: dict[str, str] = {}
        for index, cut in enumerate(cuts):
            progress(f"run {cut.id} and compare ({index + 1}/{len(cuts)})")
            checked.append(self._check(cut, index, runnable, heads, tails, reference))
            why = checked[-1].wrong
            # Where the head in front is wrong, its cut goes and the stage becomes another.
            if why is None and index and checked[-2].wrong is None:
                why = check_stage(
                    runnable.stages[cut.id],
                    (checked[-2].boundary, checked[-1].boundary),
                    heads.run,
                    reference,
                    quantized=self._quantization is not None,
                )
            if why is not None:
                wrong[cut.id] = why
        return CheckedHeads(
            entries=tuple(_described(one.entry, written) for one in checked),
            wrong=wrong,
            files={PROGRAM: lambda path: path.write_bytes(written.pte)},
            program=PROGRAM,
            ran_here=self._runs_here,
            quantization=self._quantization,
            notices=tuple(notice for one in checked for notice in one.notices),
        )

    @property
    def _runs_here(self) -> bool:
        """ExecuTorch's Python runtime has XNNPACK and the portable operators, and no GPU."""
        return self._settings.backend != "vulkan"

    def _quantize(self, calibration: Sequence[Sequence[Tensor]]) -> None:
        self._progress(f"quantize with {len(calibration)} inputs")
        graph = quantize(self._graph, calibration)
        found, dropped = quantized_cuts(self._cuts.values(), graph)
        self._graph = graph
        self._dropped = dict(dropped)
        for entry in found:
            # The order of cuts, and their work, stay those of the float graph.
            self._cuts[entry.cut.id] = self._cuts[entry.cut.id].model_copy(
                update={"boundary": entry.cut.boundary}
            )
            self._scales[entry.cut.id] = entry.scales
        self._quantization = Quantization(
            calibration_inputs=len(calibration),
            calibration_sha256=digest(calibration),
            held_out_inputs=len(self._settings.calibration or ()) - len(calibration),
            min_snr_db=self._settings.min_snr_db,
        )

    def _check(
        self,
        cut: Cut,
        index: int,
        program: Program,
        heads: Heads,
        tails: TailRunner,
        reference: Reference,
    ) -> Checked:
        boundary = self._cuts[cut.id].boundary
        head = Head(
            cut=cut.model_copy(update={"boundary": boundary}),
            scales=self._scales.get(cut.id, ()),
            encoders=program.encoders.get(cut.id, {}),
        )
        if cut.id == INPUT:
            return check_input(head, tails, reference)
        return check_head(
            head,
            index,
            program.methods[cut.id],
            heads.run,
            tails,
            reference,
            quantized=self._quantization is not None,
        )


def _described(entry: BundleCut, written: Program) -> BundleCut:
    """``entry`` with what is known of the head without running it."""
    return entry.model_copy(
        update={
            "fused": entry.cut.id in written.fused,
            "stage_method": written.stages.get(entry.cut.id),
            "coverage": written.coverage.get(entry.cut.id),
        }
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
