"""Calibration inputs for int8 heads: a folder of photos, texts or tensors to the model's inputs.

The rule: the same folder gives the same inputs in the same order, and a file that is of a known
kind but cannot be used is an error that names it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mobilesplit.core.errors import InputFileError
from mobilesplit.core.manifest import ImageInput
from mobilesplit.segment.model_source import LoadedModel
from mobilesplit.wire.images import MAX_PHOTO_NBYTES, PhotoError, normalise, to_pixels
from mobilesplit.wire.texts import TextError

MAX_INPUTS = 512
"""More than a few hundred inputs move the observed ranges no further."""
_MAX_NBYTES = 1 << 30
"""Of all inputs together: they are held in memory while the ranges are observed."""
_MAX_TEXT_NBYTES = 64 << 20
_PHOTOS = (".jpg", ".jpeg", ".png")
_TENSORS = ".safetensors"
_TEXTS = ".txt"

PrepareText = Callable[[str], Sequence[Tensor]]
"""One text to the model's inputs, as its tokenizer makes them."""


class _Source(NamedTuple):
    """Where one input comes from."""

    path: Path
    text: str | None
    """One line of a text file; None for a photo and for tensors, which are files of their own."""
    line: int = 0
    """Its number in the file, from 1; 0 without a text."""


def load_calibration(
    folder: Path,
    loaded: LoadedModel,
    input_names: Sequence[str],
    *,
    prepare_text: PrepareText | None = None,
    max_inputs: int = MAX_INPUTS,
) -> list[tuple[Tensor, ...]]:
    """The model's inputs from every file below ``folder`` that can be one.

    ``.jpg``, ``.jpeg`` and ``.png`` are one input each, for a model that takes photos; so is a
    ``.safetensors`` file, which holds a tensor for each name; a ``.txt`` file is one input a
    line that is not blank, for a model that takes text. Other files are left alone.

    Args:
        input_names: of the graph's inputs, in order: what a ``.safetensors`` file calls them.
        prepare_text: for a model that takes text; None for any other.
        max_inputs: of more, so many are chosen, always the same; fewer where they would take
            more than 1 GiB.

    Raises:
        InputFileError: no such folder, nothing to use in it, or a file that cannot be used.
    """
    input_nbytes = sum(tensor.nbytes for tensor in loaded.example_inputs)
    count = max(1, min(max_inputs, _MAX_NBYTES // max(1, input_nbytes)))
    sources = _sources(folder)
    if not sources:
        raise InputFileError(
            str(folder),
            "there is nothing to calibrate with",
            next_step="Put photos (JPEG, PNG), texts (.txt) or tensors (.safetensors) there.",
        )
    if len(sources) > count:
        chosen = random.Random(0).sample(range(len(sources)), count)  # noqa: S311 (no secret)
        sources = [sources[index] for index in sorted(chosen)]
    return [_load(source, loaded, input_names, prepare_text) for source in sources]


def digest(inputs: Sequence[Sequence[Tensor]]) -> str:
    """SHA-256, in hex, of the inputs: dtypes, shapes and bytes, in order."""
    hashed = hashlib.sha256()
    for tensors in inputs:
        for tensor in tensors:
            hashed.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            hashed.update(raw.numpy().data)
    return hashed.hexdigest()


def _sources(folder: Path) -> list[_Source]:
    if not folder.is_dir():
        raise InputFileError(
            str(folder), "there is no such folder", next_step="Name one with --calibration."
        )
    sources: list[_Source] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        suffix = path.suffix.lower()
        if suffix == _TEXTS:
            sources += [_Source(path, text, line) for line, text in _lines(path)]
        elif suffix in (*_PHOTOS, _TENSORS):
            sources.append(_Source(path, None))
    return sources


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    try:
        text = _read(path, _MAX_TEXT_NBYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise _unusable(path, "it is not UTF-8 text") from None
    return [(line, said) for line, said in enumerate(text.splitlines(), 1) if said.strip()]


def _load(
    source: _Source,
    loaded: LoadedModel,
    input_names: Sequence[str],
    prepare_text: PrepareText | None,
) -> tuple[Tensor, ...]:
    if source.text is not None:
        if prepare_text is None:
            raise _unusable(source.path, f"{loaded.name} takes no text")
        try:
            inputs = tuple(prepare_text(source.text))
        except TextError as error:
            raise _unusable(source.path, f"line {source.line}: {error}") from None
    elif source.path.suffix.lower() == _TENSORS:
        return _tensors(source.path, dict(zip(input_names, loaded.example_inputs, strict=True)))
    elif isinstance(loaded.preprocess, ImageInput):
        inputs = (_photo(source.path, loaded.preprocess),)
    else:
        raise _unusable(source.path, f"{loaded.name} takes no photos")
    if len(inputs) != len(loaded.example_inputs):
        raise _unusable(source.path, f"the model takes {len(loaded.example_inputs)} tensors")
    for name, tensor, like in zip(input_names, inputs, loaded.example_inputs, strict=True):
        _check(source.path, name, str(tensor.dtype), tuple(tensor.shape), like)
    return inputs


def _photo(path: Path, image_input: ImageInput) -> Tensor:
    try:
        pixels = to_pixels(_read(path, MAX_PHOTO_NBYTES), image_input)
    except PhotoError as error:
        raise _unusable(path, str(error)) from None
    return torch.from_numpy(normalise(pixels, image_input))


def _tensors(path: Path, likes: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The inputs in a safetensors file; dtypes and shapes are checked before any is read."""
    try:
        with safe_open(path, framework="pt") as file:
            found = set(file.keys())
            for name, like in likes.items():
                if name not in found:
                    raise _unusable(path, f"it holds no tensor {name!r}, an input of the model")
                header = file.get_slice(name)
                dtype = _DTYPES.get(header.get_dtype(), header.get_dtype())
                _check(path, name, dtype, tuple(header.get_shape()), like)
            return tuple(file.get_tensor(name) for name in likes)
    except (SafetensorError, OSError) as error:
        raise _unusable(path, f"it is no safetensors file ({error})") from None


_DTYPES = {
    "F64": "torch.float64", "F32": "torch.float32", "F16": "torch.float16",
    "I64": "torch.int64", "I32": "torch.int32", "I16": "torch.int16",
    "I8": "torch.int8", "U8": "torch.uint8", "BOOL": "torch.bool",
}  # fmt: skip
"""torch's names of safetensors' dtypes."""


def _check(path: Path, name: str, dtype: str, shape: tuple[int, ...], like: Tensor) -> None:
    expected = (str(like.dtype), tuple(like.shape))
    if (dtype, shape) != expected:
        said = f"{dtype} {shape} instead of {expected[0]} {expected[1]}"
        raise _unusable(path, f"the input {name!r} would be {said}")


def _read(path: Path, limit_nbytes: int) -> bytes:
    try:
        if path.stat().st_size > limit_nbytes:
            raise _unusable(path, f"it is larger than {limit_nbytes} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None


def _unusable(path: Path, why: str) -> InputFileError:
    return InputFileError(str(path), why, next_step="Mend it or take it out of the folder.")
