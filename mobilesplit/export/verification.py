"""Heads as they were exported, run here, then tails: what comes out against the original model.

The rule: what a bundle claims of a cut was run on this machine: its head from the bytes that will
be in its file, its tail as exported. What this machine cannot run is said to have not been run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import ModelError, WireError
from mobilesplit.core.manifest import BundleCut, Encoder, Scale
from mobilesplit.core.results import contiguous
from mobilesplit.export.deviation import deviation
from mobilesplit.segment.quiet import quiet_native
from mobilesplit.wire.codecs import decode, from_device
from mobilesplit.wire.int8 import floats_of

Tensors = tuple[Tensor, ...]


class Tails:
    """The exported stages, ready to be run from any cut."""

    def __init__(self, programs: Sequence[ExportedProgram]) -> None:
        self._stages = [program.module(check_guards=False) for program in programs]

    def run(self, first_stage: int, boundary: Sequence[Tensor]) -> Tensors:
        """The model's outputs from the boundary that ``first_stage`` begins with."""
        values = tuple(boundary)
        with torch.no_grad():
            for stage in self._stages[first_stage:]:
                values = tuple(stage(*values))
        return values


class Heads:
    """The methods of an ExecuTorch program, run on this machine."""

    def __init__(self, pte: bytes) -> None:
        self._pte = pte  # the runtime reads from it as long as methods run
        with quiet_native():
            import executorch.kernels.quantized  # noqa: F401  # what int8 heads may need
            from executorch.runtime import Runtime

            self._program = Runtime.get().load_program(self._pte)

    def run(self, method: str | None, many: Sequence[Sequence[Tensor]]) -> list[Tensors]:
        """What ``method`` makes of each of ``many`` inputs; it is loaded for these only.

        Raises:
            ModelError: ExecuTorch cannot load or run it, with why.
        """
        try:
            with quiet_native():
                loaded: Any = self._program.load_method(method)
                # The method's next run writes over what it returned: keep copies.
                return [
                    tuple(tensor.clone() for tensor in loaded.execute([t.clone() for t in inputs]))
                    for inputs in many
                ]
        except RuntimeError as error:
            raise ModelError(f"ExecuTorch cannot run it ({_reason(error)})") from error


def _reason(error: RuntimeError) -> str:
    """The operators that have no kernel, from what the runtime logged; else the error."""
    missing = re.findall(r"Missing operator: \[\d+\] (\S+)", "".join(error.__notes__))
    return f"no kernel for {', '.join(dict.fromkeys(missing))}" if missing else str(error)


def float_boundary(boundary: Sequence[Tensor], scales: Sequence[Scale | None]) -> Tensors:
    """The boundary as the float tail takes it."""
    arrays = floats_of([contiguous(tensor.numpy()) for tensor in boundary], scales)
    return tuple(torch.from_numpy(array) for array in arrays)


@dataclass(frozen=True)
class Reference:
    """What is right: inputs, and what the original model returns for them."""

    inputs: list[Tensors]
    """The golden input first."""
    expected: list[Tensors]
    """Flat outputs, in the order of ``inputs``."""
    tolerance: float
    """Largest absolute difference that a float cut may have."""
    min_snr_db: float
    """Smallest signal-to-noise ratio that an int8 cut may have."""


@dataclass(frozen=True)
class Head:
    """A head to be checked: where it ends, and how the tail takes what it returns."""

    cut: Cut
    """As the head returns it."""
    scales: tuple[Scale | None, ...] = ()
    """See ``BundleCut.scales``; not empty for int8 heads alone."""
    encoders: Mapping[str, str] = field(default_factory=dict)
    """Encoders' methods by codec."""


def check_input(head: Head, tails: Tails, reference: Reference) -> tuple[BundleCut, str | None]:
    """The entry of the cut ``input``, where the tail is the whole model."""
    outputs = [tails.run(0, reference.inputs[0])]
    return _entry(head, 0, None, outputs, reference, quantized=False)


def check_head(
    head: Head,
    index: int,
    method: str | None,
    run: Callable[[str | None, Sequence[Sequence[Tensor]]], list[Tensors]],
    tails: Tails,
    reference: Reference,
    *,
    quantized: bool = False,
) -> tuple[BundleCut, str | None]:
    """Run a head, its encoders and its tail; the cut's entry, and why it cannot be kept if so.

    Args:
        index: of the cut among those of the bundle: its tail begins with stage ``index``.
        method: None where the head is a file and not a method.
        run: runs a method on each of many inputs.
        quantized: whether the head is int8: it is then judged by its signal-to-noise ratio over
            all inputs, else by the largest difference for the golden one.
    """
    inputs = reference.inputs if quantized else reference.inputs[:1]
    try:
        boundaries = run(method, inputs)
    except ModelError as error:
        unknown = BundleCut(cut=head.cut, method=method, first_stage=index, max_abs_error=0.0)
        return unknown, error.what
    outputs = [tails.run(index, float_boundary(b, head.scales)) for b in boundaries]
    entry, wrong = _entry(head, index, method, outputs, reference, quantized=quantized)
    if wrong is not None:
        return entry, wrong
    encoders = {}
    for codec, encoder in head.encoders.items():
        (encoded,) = run(encoder, boundaries[:1])
        try:
            sent = _through_codec(codec, head.cut, encoded)
        except WireError:
            continue  # a value that the codec cannot hold: it is not offered here
        output = tails.run(index, float_boundary(sent, head.scales))
        encoders[codec] = Encoder(
            method=encoder, deviation=deviation([output], reference.expected[:1])
        )
    return entry.model_copy(update={"encoders": encoders}), None


def _entry(
    head: Head,
    index: int,
    method: str | None,
    outputs: list[Tensors],
    reference: Reference,
    *,
    quantized: bool,
) -> tuple[BundleCut, str | None]:
    expected = reference.expected[: len(outputs)]
    found = deviation(outputs, expected)
    if quantized:
        ratio = f"has {found.snr_db:.1f} dB signal-to-noise, less than {reference.min_snr_db:g}"
        wrong = None if found.snr_db >= reference.min_snr_db else ratio
    else:
        right = found.max_abs_error <= reference.tolerance
        limit = f"(tolerance {reference.tolerance:.3g})"
        wrong = None if right else f"differs by {found.max_abs_error:.3g} as exported {limit}"
    return BundleCut(
        cut=head.cut,
        method=method,
        first_stage=index,
        max_abs_error=found.max_abs_error,
        scales=head.scales,
        deviation=found if quantized else None,
    ), wrong


def _through_codec(codec: str, cut: Cut, encoded: Tensors) -> Tensors:
    """The boundary as a server decodes it."""
    arrays = [contiguous(tensor.numpy()) for tensor in encoded]
    decoded = decode(codec, from_device(codec, arrays, cut.boundary), cut.boundary, None)
    return tuple(torch.from_numpy(contiguous(array)) for array in decoded)
