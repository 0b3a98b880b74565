"""A model's heads as one ExecuTorch program: what is lowered where, then composed and emitted.

The rule: lowering, which takes the time, is begun as soon as the cuts are known; what else an
export has to do is done meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from torch.export import ExportedProgram

from mobilesplit.core.cuts import Cut
from mobilesplit.core.manifest import Coverage
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.export.boundaries import export_marked
from mobilesplit.export.composition import Composition
from mobilesplit.export.encoders import encoder_name, encoders_program
from mobilesplit.export.lowered import Lowered, unpack
from mobilesplit.export.lowering import Backend, lower
from mobilesplit.export.programs import Composed, Composer, Part, emit, method_names
from mobilesplit.export.workers import Workers, cannot_be_lowered
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.trace import Graph
from mobilesplit.wire.codecs import expected_blobs

Span = tuple[int, int]
"""From one cut to another, by their indices."""
_HANDED_OVER = 1.5
"""How much may be handed to workers at once, in sizes of the model."""


@dataclass(frozen=True)
class Program:
    """An emitted program."""

    pte: bytes
    """An ExecuTorch program."""
    methods: dict[str, str]
    """The head's method by cut id, ``input`` excepted."""
    fused: frozenset[str]
    """Ids of the cuts whose head was lowered alone."""
    coverage: dict[str, Coverage]
    """What the delegates run, by cut id."""
    encoders: dict[str, dict[str, str]]
    """The encoder's method by cut id and codec."""


class Lowering:
    """The lowering of one graph: handed to workers with ``begin``, done with ``finish``."""

    def __init__(
        self, graph: Graph, cuts: Sequence[Cut], composition: Composition, backend: Backend
    ) -> None:
        self._graph = graph
        self._cuts = list(cuts)
        self._composition = composition
        self._backend = backend
        self._lowered: dict[Span, Lowered] = {}
        self._waiting = {span: self._marked(span) for span in self._spans()}
        self._handed_over: dict[Span, Future[bytes]] = {}

    def begin(self, workers: Workers) -> None:
        """Let ``workers`` lower what they can until ``finish``."""
        if workers.count:
            # What is handed over is held a second time until a worker has taken it.
            budget_nbytes = _HANDED_OVER * self._weights_nbytes()
            for span, program in self._waiting.items():
                if workers.handed_over_nbytes <= budget_nbytes:
                    future = workers.submit(program, self._backend, first_stage=span[0])
                    self._handed_over[span] = future

    def finish(self, progress: Callable[[str], None]) -> None:
        """Lower in this process what no worker has begun, and wait for the rest.

        Raises:
            ModelError: a part cannot be lowered.
        """
        # Workers begin with the first and longest: take from the other end.
        for span in reversed(list(self._waiting)):
            self._report(progress)
            future = self._handed_over.get(span)
            if future is None or future.cancel():
                self._lowered[span] = _lower(self._waiting[span], self._backend, span[0])
        for span, future in self._handed_over.items():
            if not future.cancelled():
                self._report(progress)
                self._lowered[span] = unpack(future.result())
        self._waiting.clear()

    def _report(self, progress: Callable[[str], None]) -> None:
        progress(f"lower for {self._backend} ({len(self._lowered)}/{len(self._waiting)})")

    def program(self, cut_ids: Sequence[str], codecs: Sequence[str]) -> Program:
        """The heads of some cuts, with encoders for ``codecs``, as one program.

        Args:
            cut_ids: those of the cuts to keep, ``input`` first, ``output`` last.
        """
        indices = [index for index, cut in enumerate(self._cuts) if cut.id in cut_ids and index]
        names = method_names(self._cuts[index].id for index in indices)
        composer = Composer()
        methods = {
            name: composer.head(self._parts(index))
            for name, index in zip(names, indices, strict=True)
        }
        ids = [self._cuts[index].id for index in indices]
        coverage = {
            cut_id: method.coverage(self._cuts[index].head_flops)
            for cut_id, index, method in zip(ids, indices, methods.values(), strict=True)
        }
        encoders = self._add_encoders(indices[:-1], codecs, composer, methods)
        return Program(
            pte=emit(methods),
            methods=dict(zip(ids, names, strict=True)),
            fused=frozenset(self._cuts[index].id for index in self._composition.fused),
            coverage=coverage,
            encoders=encoders,
        )

    def _spans(self) -> list[Span]:
        """What is to be lowered, the longest first."""
        fused = [(0, cut) for cut in self._composition.fused]
        spans = dict.fromkeys([*self._composition.groups, *fused])
        return sorted(spans, key=self._work, reverse=True)

    def _weights_nbytes(self) -> int:
        module = self._graph.module
        return sum(weight.nbytes for weight in (*module.parameters(), *module.buffers()))

    def _work(self, span: Span) -> int:
        """Stages in a span."""
        return span[1] - span[0]

    def _marked(self, span: Span) -> ExportedProgram:
        """What lies in a span, as something to lower; a fused head has no marks inside."""
        first, last = span
        cuts = self._cuts[first : last + 1]
        if span not in self._composition.groups:
            cuts = [cuts[0], cuts[-1]]
        with quiet():
            return export_marked(self._graph, cuts, first_cut=first)

    def _parts(self, cut: int) -> list[Part]:
        """What the head of a cut is composed of: a fused head to begin with, then stages."""
        base = self._composition.base_of(cut)
        parts = [Part(self._lowered[0, base], (0, base), 0, base)] if base else []
        for first, last in self._composition.groups:
            if last > base and first < cut and base < cut:
                lowered = self._lowered[first, last]
                parts.append(Part(lowered, (first, last), max(first, base), min(last, cut)))
        return parts

    def _add_encoders(
        self,
        indices: Sequence[int],
        codecs: Sequence[str],
        composer: Composer,
        methods: dict[str, Composed],
    ) -> dict[str, dict[str, str]]:
        """Encoders for these cuts; cuts whose boundaries look the same share theirs."""
        named: dict[str, dict[str, str]] = {}
        wanted: dict[str, tuple[str, Sequence[TensorSpec]]] = {}
        for cut in (self._cuts[index] for index in indices):
            if any(spec.dtype == "float32" for spec in cut.boundary):
                named[cut.id] = {codec: encoder_name(codec, cut.boundary) for codec in codecs}
                for codec, name in named[cut.id].items():
                    wanted[name] = codec, cut.boundary
        if wanted:
            methods.update(_encoder_methods(wanted, composer))
        return named


def _lower(program: ExportedProgram, backend: Backend, first_stage: int) -> Lowered:
    """Lower in this process.

    Raises:
        ModelError: executorch does not take it.
    """
    try:
        with quiet():
            return lower(program, backend, first_stage=first_stage)
    except Exception as error:  # executorch raises whatever its passes raise
        raise cannot_be_lowered(f"{type(error).__name__}: {error}") from error


def _encoder_methods(
    wanted: Mapping[str, tuple[str, Sequence[TensorSpec]]], composer: Composer
) -> dict[str, Composed]:
    """Encoders by name, from codec and boundary: lowered side by side, then taken apart."""
    with quiet():
        lowered = lower(encoders_program(list(wanted.values())), "portable")
    starts, ends = list(lowered.inputs), list(lowered.outputs)
    methods = {}
    for name, (codec, boundary) in wanted.items():
        num_blobs = len(expected_blobs(codec, boundary, None))
        methods[name] = composer.between(lowered, starts[: len(boundary)], ends[:num_blobs])
        del starts[: len(boundary)], ends[:num_blobs]
    return methods
