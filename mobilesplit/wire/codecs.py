"""How a boundary becomes blobs, and back. Pure; what arrives is checked against the manifest.

    codec     at         on the wire                                        the same tensors?
    raw       any cut    every tensor as it is                              yes
    fp16      any cut    float tensors as float16, others as they are       no
    int8      any cut    float tensors as NAME (int8), NAME.scale and       no
                         NAME.zero_point; others as they are
    uint8     ``input``  RGB pixels HxWx3 after resize and crop             yes
    original  ``input``  the JPEG or PNG file; the server prepares it       yes

What `encode` takes is what the codec is made of: the boundary's tensors for ``raw``, ``fp16`` and
``int8``, the pixels (`images.to_pixels`) for ``uint8``, the file's bytes as a uint8 array for
``original``. Where the device has encoded, `from_device` takes what its encoder returned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mobilesplit.core.cuts import INPUT, OUTPUT
from mobilesplit.core.errors import UnknownNameError, WireError
from mobilesplit.core.manifest import BundleCut, ImageInput, TextInput
from mobilesplit.core.results import Array
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.wire import int8
from mobilesplit.wire.frames import Blob
from mobilesplit.wire.images import MAX_PHOTO_NBYTES, PhotoError, normalise, to_pixels

CODECS = ("raw", "fp16", "int8", "uint8", "original")

Preprocess = ImageInput | TextInput | None

_PIXELS = "pixels"
_PHOTO = "photo"
_FP16_FROM = ("float32", "float64")
_INT8_FROM = ("float16", "float32", "float64")


def codecs_at(entry: BundleCut, preprocess: Preprocess) -> tuple[str, ...]:
    """The codecs that make sense at a cut; none at ``output``, where nothing is sent."""
    boundary = entry.cut.boundary
    if entry.cut.id == OUTPUT:
        return ()
    codecs = ["raw"]
    if any(spec.dtype in _FP16_FROM for spec in boundary):
        codecs.append("fp16")
    if any(spec.dtype in _INT8_FROM for spec in boundary):
        codecs.append("int8")
    if entry.cut.id == INPUT and isinstance(preprocess, ImageInput):
        codecs += ["uint8", "original"]
    return tuple(codecs)


def encode(
    codec: str,
    tensors: Sequence[Array],
    boundary: Sequence[TensorSpec],
    preprocess: Preprocess = None,
) -> tuple[Blob, ...]:
    """The blobs of one boundary.

    Args:
        tensors: for ``uint8`` the pixels alone, for ``original`` the file's bytes alone.
        preprocess: needed by ``uint8`` alone.

    Raises:
        UnknownNameError: for an unknown codec.
        WireError: for tensors that are not the boundary's, or values that the codec cannot hold.
    """
    if codec in ("fp16", "int8"):
        _check(tensors, [spec.name for spec in boundary], boundary)
        tensors = _to_fp16(tensors) if codec == "fp16" else _to_int8(tensors, boundary)
    return _blobs(tensors, expected_blobs(codec, boundary, preprocess))


def from_device(
    codec: str, outputs: Sequence[Array], boundary: Sequence[TensorSpec]
) -> tuple[Blob, ...]:
    """The blobs of a boundary that the device has encoded: ``outputs`` are its encoder's.

    Raises:
        WireError: for outputs that are not the codec's blobs, or that show that a value did not
            fit: an infinite half, a scale that is no number.
    """
    blobs = _blobs(outputs, expected_blobs(codec, boundary, None))
    if codec == "fp16":
        for spec, output in zip(boundary, outputs, strict=True):
            if spec.dtype in _FP16_FROM and bool(np.isinf(output).any()):
                raise _not_fp16(f"A value of {spec.name!r}")
    if codec == "int8":
        _from_int8(outputs, boundary)
    return blobs


def expected_blobs(
    codec: str, boundary: Sequence[TensorSpec], preprocess: Preprocess
) -> tuple[TensorSpec, ...]:
    """What a codec sends for a boundary; a file's length is not known, and given as 0.

    Raises:
        WireError: for a codec that does not fit the boundary.
    """
    if codec not in CODECS:
        raise UnknownNameError("codec", codec, CODECS)
    if codec == "raw":
        return tuple(boundary)
    if codec == "fp16":
        return tuple(
            spec.model_copy(update={"dtype": "float16"}) if spec.dtype in _FP16_FROM else spec
            for spec in boundary
        )
    if codec == "int8":
        return tuple(blob for spec in boundary for blob in _int8_blobs(spec))
    if not isinstance(preprocess, ImageInput):
        raise WireError(f"Codec {codec!r} needs a model that takes photos.")
    height, width = preprocess.height, preprocess.width
    if [(spec.dtype, spec.shape) for spec in boundary] != [("float32", (1, 3, height, width))]:
        raise WireError(f"Codec {codec!r} does not fit the boundary.")
    if codec == "uint8":
        return (TensorSpec(name=_PIXELS, dtype="uint8", shape=(height, width, 3)),)
    return (TensorSpec(name=_PHOTO, dtype="uint8", shape=(0,)),)


def check(
    codec: str,
    blobs: Sequence[Blob],
    boundary: Sequence[TensorSpec],
    preprocess: Preprocess,
) -> None:
    """Check received blobs against the boundary, without touching their content.

    Raises:
        WireError: naming the first difference.
    """
    expected = expected_blobs(codec, boundary, preprocess)
    _check([blob.array for blob in blobs], [blob.name for blob in blobs], expected)


def decode(
    codec: str,
    blobs: Sequence[Blob],
    boundary: Sequence[TensorSpec],
    preprocess: Preprocess = None,
) -> tuple[Array, ...]:
    """The boundary's tensors. With ``raw`` they are views of the received bytes.

    Raises:
        WireError: for blobs that are not what the codec makes of this boundary, a scale or zero
            point that cannot be, or a photo that cannot be used.
    """
    check(codec, blobs, boundary, preprocess)
    if codec == "raw":
        return tuple(blob.array for blob in blobs)
    if codec == "fp16":
        return tuple(
            blob.array.astype(spec.dtype, copy=False)
            for blob, spec in zip(blobs, boundary, strict=True)
        )
    if codec == "int8":
        return tuple(_from_int8([blob.array for blob in blobs], boundary))
    assert isinstance(preprocess, ImageInput)
    content = blobs[0].array
    if codec == "original":
        try:
            content = to_pixels(content.data, preprocess)
        except PhotoError as error:
            raise WireError(f"The photo cannot be used: {error}.") from None
    return (normalise(content, preprocess),)


def _blobs(arrays: Sequence[Array], expected: Sequence[TensorSpec]) -> tuple[Blob, ...]:
    names = [spec.name for spec in expected]
    _check(arrays, names, expected)
    return tuple(Blob(name, array) for name, array in zip(names, arrays, strict=True))


def _to_fp16(tensors: Sequence[Array]) -> list[Array]:
    halves = []
    for tensor in tensors:
        half = tensor
        if tensor.dtype.name in _FP16_FROM:
            with np.errstate(over="ignore"):
                half = tensor.astype(np.float16)
            # An overflow would arrive as infinity and spoil the answer without a word.
            if bool(np.isinf(half).any()) and not bool(np.isinf(tensor).any()):
                raise _not_fp16(f"A value of {np.abs(tensor).max():g}")
        halves.append(half)
    return halves


def _not_fp16(value: str) -> WireError:
    return WireError(f"{value} does not fit into float16.", next_step="Use the codec raw.")


def _to_int8(tensors: Sequence[Array], boundary: Sequence[TensorSpec]) -> list[Array]:
    blobs: list[Array] = []
    for tensor, spec in zip(tensors, boundary, strict=True):
        is_float = spec.dtype in _INT8_FROM
        blobs += int8.quantize(spec.name, tensor) if is_float else (tensor,)
    return blobs


def _from_int8(blobs: Sequence[Array], boundary: Sequence[TensorSpec]) -> list[Array]:
    """The boundary of blobs whose dtypes and shapes are right; the parameters are checked here."""
    rest = iter(blobs)
    tensors = []
    for spec in boundary:
        tensor = next(rest)
        if spec.dtype in _INT8_FROM:
            scale, zero_point = next(rest), next(rest)
            int8.check_parameters(spec.name, scale, zero_point)
            tensor = int8.dequantize(tensor, scale, zero_point, spec.dtype)
        tensors.append(tensor)
    return tensors


def _int8_blobs(spec: TensorSpec) -> tuple[TensorSpec, ...]:
    if spec.dtype not in _INT8_FROM:
        return (spec,)
    return (
        spec.model_copy(update={"dtype": "int8"}),
        TensorSpec(name=f"{spec.name}.scale", dtype="float64", shape=(1,)),
        TensorSpec(name=f"{spec.name}.zero_point", dtype="int64", shape=(1,)),
    )


def _check(tensors: Sequence[Array], names: Sequence[str], expected: Sequence[TensorSpec]) -> None:
    if len(tensors) != len(expected):
        raise WireError(f"{len(tensors)} tensors came; the boundary has {len(expected)}.")
    for tensor, name, spec in zip(tensors, names, expected, strict=True):
        if name != spec.name:
            raise WireError(f"Tensor {name!r} came where {spec.name!r} is expected.")
        is_file = spec.shape == (0,)
        fits = tensor.ndim == 1 if is_file else tensor.shape == spec.shape
        if tensor.dtype.name != spec.dtype or not fits:
            wanted = f"{spec.dtype} {'of one dimension' if is_file else list(spec.shape)}"
            raise WireError(
                f"Tensor {name!r} is {tensor.dtype.name} {list(tensor.shape)}, not {wanted}."
            )
        if is_file and tensor.nbytes > MAX_PHOTO_NBYTES:
            raise WireError(f"The photo is {tensor.nbytes} bytes; at most {MAX_PHOTO_NBYTES}.")
