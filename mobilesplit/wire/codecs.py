"""How a boundary becomes blobs, and back. Pure; what arrives is checked against the manifest.

    codec     at         on the wire                                        the same tensors?
    raw       any cut    every tensor as it is                              yes
    fp16      any cut    float tensors as float16, others as they are       no
    uint8     ``input``  RGB pixels HxWx3 after resize and crop             yes
    original  ``input``  the JPEG or PNG file; the server prepares it       yes

What `encode` takes is what the codec is made of: the boundary's tensors for ``raw`` and ``fp16``,
the pixels (`images.to_pixels`) for ``uint8``, the file's bytes as a uint8 array for ``original``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mobilesplit.core.cuts import INPUT, OUTPUT
from mobilesplit.core.errors import UnknownNameError, WireError
from mobilesplit.core.manifest import BundleCut, ImageInput
from mobilesplit.core.results import Array
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.wire.frames import Blob
from mobilesplit.wire.images import MAX_PHOTO_NBYTES, PhotoError, normalise, to_pixels

CODECS = ("raw", "fp16", "uint8", "original")

_PIXELS = "pixels"
_PHOTO = "photo"
_FP16_FROM = ("float32", "float64")


def codecs_at(entry: BundleCut, preprocess: ImageInput | None) -> tuple[str, ...]:
    """The codecs that make sense at a cut; none at ``output``, where nothing is sent."""
    boundary = entry.cut.boundary
    if entry.cut.id == OUTPUT:
        return ()
    codecs = ["raw"]
    if any(spec.dtype in _FP16_FROM for spec in boundary):
        codecs.append("fp16")
    if entry.cut.id == INPUT and preprocess is not None:
        codecs += ["uint8", "original"]
    return tuple(codecs)


def encode(
    codec: str,
    tensors: Sequence[Array],
    boundary: Sequence[TensorSpec],
    preprocess: ImageInput | None = None,
) -> tuple[Blob, ...]:
    """The blobs of one boundary.

    Args:
        tensors: for ``uint8`` the pixels alone, for ``original`` the file's bytes alone.
        preprocess: needed by ``uint8`` alone.

    Raises:
        UnknownNameError: for an unknown codec.
        WireError: for tensors that are not the boundary's, or values that float16 cannot hold.
    """
    names = [spec.name for spec in boundary]
    if codec == "uint8":
        names = [_PIXELS]
    elif codec == "original":
        names = [_PHOTO]
    elif codec == "fp16":
        _check(tensors, names, boundary)
        tensors = [_to_fp16(tensor) for tensor in tensors]
    elif codec != "raw":
        raise UnknownNameError("codec", codec, CODECS)
    _check(tensors, names, expected_blobs(codec, boundary, preprocess))
    return tuple(Blob(name, tensor) for name, tensor in zip(names, tensors, strict=True))


def expected_blobs(
    codec: str, boundary: Sequence[TensorSpec], preprocess: ImageInput | None
) -> tuple[TensorSpec, ...]:
    """What a codec sends for a boundary; a file's length is not known, and given as 0.

    Raises:
        WireError: for a codec that does not fit the boundary.
    """
    if codec == "raw":
        return tuple(boundary)
    if codec == "fp16":
        return tuple(
            spec.model_copy(update={"dtype": "float16"}) if spec.dtype in _FP16_FROM else spec
            for spec in boundary
        )
    if preprocess is None:
        raise WireError(f"Codec {codec!r} needs a model that takes photos.")
    height, width = preprocess.height, preprocess.width
    if [(spec.dtype, spec.shape) for spec in boundary] != [("float32", (1, 3, height, width))]:
        raise WireError(f"Codec {codec!r} does not fit the boundary.")
    if codec == "uint8":
        return (TensorSpec(name=_PIXELS, dtype="uint8", shape=(height, width, 3)),)
    if codec == "original":
        return (TensorSpec(name=_PHOTO, dtype="uint8", shape=(0,)),)
    raise UnknownNameError("codec", codec, CODECS)


def check(
    codec: str,
    blobs: Sequence[Blob],
    boundary: Sequence[TensorSpec],
    preprocess: ImageInput | None,
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
    preprocess: ImageInput | None = None,
) -> tuple[Array, ...]:
    """The boundary's tensors. With ``raw`` they are views of the received bytes.

    Raises:
        WireError: for blobs that are not what the codec makes of this boundary, or a photo that
            cannot be used.
    """
    check(codec, blobs, boundary, preprocess)
    if codec == "raw":
        return tuple(blob.array for blob in blobs)
    if codec == "fp16":
        return tuple(
            blob.array.astype(spec.dtype, copy=False)
            for blob, spec in zip(blobs, boundary, strict=True)
        )
    assert preprocess is not None
    content = blobs[0].array
    if codec == "original":
        try:
            content = to_pixels(content.data, preprocess)
        except PhotoError as error:
            raise WireError(f"The photo cannot be used: {error}.") from None
    return (normalise(content, preprocess),)


def _to_fp16(tensor: Array) -> Array:
    if tensor.dtype.name not in _FP16_FROM:
        return tensor
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16)
    # An overflow would arrive as infinity and spoil the answer without a word.
    if bool(np.isinf(half).any()) and not bool(np.isinf(tensor).any()):
        raise WireError(
            f"A value of {np.abs(tensor).max():g} does not fit into float16.",
            next_step="Use the codec raw.",
        )
    return half


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
