"""Heads as they were exported, run here, then tails: what comes out against the original model.

The rule: what a bundle claims of a cut was run on this machine: its head from the bytes that will
be in its file, its tail as exported. What this machine cannot run is said to have not been run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import ModelError, WireError
from mobilesplit.core.manifest import BundleCut, Encoder, Scale
from mobilesplit.core.results import Array, contiguous
from mobilesplit.export.deviation import deviation
from mobilesplit.segment.quiet import quiet_native
from mobilesplit.segment.verify import max_relative_error
from mobilesplit.wire.codecs import decode, encode, from_device
from mobilesplit.wire.int8 import floats_of

Tensors = tuple[Tensor, ...]
NO_KERNEL = "no kernel for"
"""What is said of operators that ExecuTorch does not have, on any backend."""


class TailRunner:
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

            self._runtime = Runtime.get()

    def run(self, method: str | None, many: Sequence[Sequence[Tensor]]) -> list[Tensors]:
        """What ``method`` makes of each of ``many`` inputs; it is loaded for these only.

        Raises:
            ModelError: ExecuTorch cannot load or run it, with why.
        """
        try:
            with quiet_native():
                # A program keeps every method that it ever loaded: each gets its own.
                loaded: Any = self._runtime.load_program(self._pte).load_method(method)
                # The method's next run writes over what it returned: keep copies.
                return [
                    tuple(tensor.clone() for tensor in loaded.execute(_row_major(inputs)))
                    for inputs in many
                ]
        except RuntimeError as error:
            raise ModelError(f"ExecuTorch cannot run it ({_reason(error)})") from error


def _row_major(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Copies in the order of memory that heads take."""
    return [tensor.clone(memory_format=torch.contiguous_format) for tensor in inputs]


def _reason(error: RuntimeError) -> str:
    """The operators that have no kernel, from what the runtime logged; else the error."""
    missing = re.findall(r"Missing operator: \[\d+\] (\S+)", "".join(error.__notes__))
    return f"{NO_KERNEL} {', '.join(dict.fromkeys(missing))}" if missing else str(error)


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
    """Largest relative difference that a float cut may have (see ``max_relative_error``)."""
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


@dataclass(frozen=True)
class Checked:
    """What running a head showed."""

    entry: BundleCut
    """What the bundle says of the cut; worth nothing if it is wrong."""
    boundary: Tensors = ()
    """What the head returned for the golden input."""
    wrong: str | None = None
    """Why the cut cannot be kept."""
    notices: tuple[str, ...] = ()
    """What else whoever exports should know of it."""


def check_input(head: Head, tails: TailRunner, reference: Reference) -> Checked:
    """The cut ``input``, where the tail is the whole model."""
    outputs = [tails.run(0, reference.inputs[0])]
    entry, wrong = _entry(head, 0, None, outputs, reference, quantized=False)
    return Checked(entry, reference.inputs[0], wrong)


def check_head(
    head: Head,
    index: int,
    method: str | None,
    run: Callable[[str | None, Sequence[Sequence[Tensor]]], list[Tensors]],
    tails: TailRunner,
    reference: Reference,
    *,
    quantized: bool = False,
) -> Checked:
    """Run a head, its encoders and its tail.

    Args:
        index: of the cut among those of the bundle: its tail begins with stage ``index``.
        method: None where the head is a file and not a method.
        run: runs a method on each of many inputs.
        quantized: whether the head is int8: it is then judged by its signal-to-noise ratio over
            all inputs but the golden one, else by the largest difference for that one.
    """
    inputs = reference.inputs if quantized else reference.inputs[:1]
    try:
        boundaries = run(method, inputs)
    except ModelError as error:
        unknown = BundleCut(cut=head.cut, method=method, first_stage=index, max_abs_error=0.0)
        return Checked(unknown, wrong=error.what)
    outputs = [tails.run(index, float_boundary(b, head.scales)) for b in boundaries]
    entry, wrong = _entry(head, index, method, outputs, reference, quantized=quantized)
    if wrong is not None:
        return Checked(entry, boundaries[0], wrong)
    encoders, notices = {}, []
    for codec, encoder in head.encoders.items():
        (encoded,) = run(encoder, boundaries[:1])
        try:
            sent = _through_codec(codec, head.cut, boundaries[0], encoded)
        except WireError as error:
            notices.append(f"{head.cut.id}: no codec {codec} on the device: {error.what}")
            continue
        output = tails.run(index, float_boundary(sent, head.scales))
        encoders[codec] = Encoder(
            method=encoder, deviation=deviation([output], reference.expected[:1])
        )
    entry = entry.model_copy(update={"encoders": encoders})
    return Checked(entry, boundaries[0], None, tuple(notices))


def check_stage(
    method: str,
    boundaries: tuple[Tensors, Tensors],
    run: Callable[[str | None, Sequence[Sequence[Tensor]]], list[Tensors]],
    reference: Reference,
    *,
    quantized: bool,
) -> str | None:
    """Why a stage does not lead from one head's boundary to the next one's; None if it does.

    int8 values may lie a step apart, which a composed and a fused head round differently.
    """
    start, end = boundaries
    try:
        (found,) = run(method, [start])
    except ModelError as error:
        return error.what
    if quantized:
        error_db = deviation([found], [end]).snr_db
        return None if error_db >= reference.min_snr_db else f"its stage has {error_db:.1f} dB"
    relative = max_relative_error(found, end)
    return None if relative <= reference.tolerance else f"its stage differs by {relative:.3g}"


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
    # The golden input may be noise, which no range was observed with: int8 is judged by others.
    judged = slice(1 if quantized else 0, None)
    found = deviation(outputs[judged], expected[judged])
    relative = max_relative_error(outputs[0], expected[0])
    if quantized:
        ratio = f"has {found.snr_db:.1f} dB signal-to-noise, less than {reference.min_snr_db:g}"
        wrong = None if found.snr_db >= reference.min_snr_db else ratio
    else:
        limit = f"(tolerance {reference.tolerance:.3g} of the output's peak)"
        right = relative <= reference.tolerance
        wrong = None if right else f"differs by {found.max_abs_error:.3g} as exported {limit}"
    return BundleCut(
        cut=head.cut,
        method=method,
        first_stage=index,
        max_abs_error=found.max_abs_error,
        max_relative_error=relative,
        scales=head.scales,
        deviation=found if quantized else None,
    ), wrong


def _through_codec(codec: str, cut: Cut, boundary: Tensors, encoded: Tensors) -> Tensors:
    """The boundary as a server decodes what the device encoded.

    Raises:
        WireError: a value does not fit the codec, or the device did not encode what the codec is.
    """
    blobs = from_device(codec, _arrays(encoded), cut.boundary)
    for blob, right in zip(blobs, encode(codec, _arrays(boundary), cut.boundary), strict=True):
        # Rounding to 8 bits may fall to either side; all else is the same to the last bit
        # but for a scale that was worked out in another order.
        step = 1 if blob.array.dtype.kind == "i" else 0
        if not np.allclose(blob.array, right.array, rtol=1e-6, atol=step):
            raise WireError(f"the device's {blob.name} is not what the codec makes of it.")
    decoded = decode(codec, blobs, cut.boundary, None)
    return tuple(torch.from_numpy(contiguous(array)) for array in decoded)


def _arrays(tensors: Tensors) -> list[Array]:
    return [contiguous(tensor.numpy()) for tensor in tensors]
