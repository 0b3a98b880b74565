"""A model's heads as one ExecuTorch program: what is lowered where, then composed and emitted.

The rule: lowering, which takes the time, is begun as soon as the cuts are known; what else an
export has to do is done meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise

from torch.export import ExportedProgram

from mobilesplit.core.cuts import Cut
from mobilesplit.core.manifest import Coverage
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.export.boundaries import export_marked
from mobilesplit.export.composition import Composition
from mobilesplit.export.encoders import encoder_name, encoders_program
from mobilesplit.export.lowered import Lowered
from mobilesplit.export.lowering import lower
from mobilesplit.export.programs import Composed, Composer, Part, emit, method_names
from mobilesplit.export.settings import Backend
from mobilesplit.export.workers import Fetch, Workers, cannot_be_lowered
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.trace import Graph
from mobilesplit.wire.codecs import expected_blobs

Span = tuple[int, int]
"""From one cut to another, by their indices."""


@dataclass(frozen=True)
class _Unit:
    """What is lowered in one go."""

    span: Span
    fused: bool
    """Without marks inside: a head that is lowered alone."""


@dataclass(frozen=True)
class Program:
    """An emitted program."""

    pte: bytes
    """An ExecuTorch program."""
    methods: dict[str, str]
    """The head's method by cut id, ``input`` excepted."""
    stages: dict[str, str]
    """The method of the stage that ends at a cut, by cut id, ``input`` excepted."""
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
        self._lowered: dict[_Unit, Lowered] = {}
        self._waiting = {unit: self._marked(unit) for unit in self._units()}
        self._handed_over: dict[_Unit, Future[Fetch]] = {}

    def begin(self, workers: Workers) -> None:
        """Let ``workers`` lower what they can until ``finish``."""
        if not workers.count:
            return
        # Without room on disk for another, the rest is lowered here.
        with contextlib.suppress(OSError):
            for unit, program in self._waiting.items():
                future = workers.submit(program, self._backend, first_stage=unit.span[0])
                self._handed_over[unit] = future

    def finish(self, progress: Callable[[str], None]) -> None:
        """Lower in this process what no worker has begun, and wait for the rest.

        Raises:
            ModelError: a part cannot be lowered.
        """
        total = len(self._waiting)
        # Workers begin with the first and longest: take from the other end.
        for unit in reversed(list(self._waiting)):
            progress(f"lower for {self._backend} ({len(self._lowered)}/{total})")
            future = self._handed_over.get(unit)
            if future is None or future.cancel():
                self._lowered[unit] = _lower(self._waiting[unit], self._backend, unit.span[0])
                self._handed_over.pop(unit, None)
        for unit, future in self._handed_over.items():
            progress(f"lower for {self._backend} ({len(self._lowered)}/{total})")
            self._lowered[unit] = future.result()()
        self._waiting.clear()
        self._handed_over.clear()

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
        stages: dict[str, str] = {}
        for start, end in pairwise([0, *indices]):
            name = f"stage_{len(stages):02}"
            stages[self._cuts[end].id] = name
            methods[name] = composer.head(self._staged(start, end))
        encoders = self._add_encoders(indices[:-1], codecs, composer, methods)
        return Program(
            pte=emit(methods),
            methods=dict(zip(ids, names, strict=True)),
            fused=frozenset(self._cuts[index].id for index in self._composition.fused),
            stages=stages,
            coverage=coverage,
            encoders=encoders,
        )

    def _units(self) -> list[_Unit]:
        """What is to be lowered, the longest first."""
        units = [_Unit(span, fused=False) for span in self._composition.groups]
        units += [_Unit((0, cut), fused=True) for cut in self._composition.fused]
        return sorted(units, key=lambda unit: unit.span[1] - unit.span[0], reverse=True)

    def _marked(self, unit: _Unit) -> ExportedProgram:
        """A unit as something to lower.

        Raises:
            ModelError: torch does not export it.
        """
        first, last = unit.span
        cuts = [self._cuts[first], self._cuts[last]] if unit.fused else self._cuts[first : last + 1]
        try:
            with quiet(errors=True):
                return export_marked(self._graph, cuts, first_cut=first)
        except RuntimeError as error:
            raise cannot_be_lowered(str(error)) from error

    def _parts(self, cut: int) -> list[Part]:
        """What the head of a cut is composed of: a fused head to begin with, then stages."""
        base = self._composition.base_of(cut)
        if not base:
            return self._staged(0, cut)
        fused = self._lowered[_Unit((0, base), fused=True)]
        return [Part(fused, (0, base), 0, base), *self._staged(base, cut)]

    def _staged(self, first_cut: int, last_cut: int) -> list[Part]:
        """What lies between two cuts, of the groups that it reaches into."""
        parts = []
        for first, last in self._composition.groups:
            begin, end = max(first, first_cut), min(last, last_cut)
            if begin < end:
                lowered = self._lowered[_Unit((first, last), fused=False)]
                parts.append(Part(lowered, (first, last), begin, end))
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
