"""One binary websocket message is one frame: a prefix, a header, aligned raw blobs.

    offset  size  field
    0       4     magic ``MSPL``
    4       1     version (1)
    5       1     kind (mobilesplit.wire.messages.Kind)
    6       2     reserved, 0
    8       4     header length, little-endian
    12      n     header: msgpack array [body, [[name, dtype, shape], ...]]
    ...           zeros up to a multiple of 64, then blob 0, zeros, blob 1, ...; nothing after the
                  last blob

The rule: every length, dtype and shape is checked before a blob is looked at, and blobs are
views of the received bytes, so what a sender claims never makes the receiver allocate.
Documented in docs/wire.md.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np

from mobilesplit.core.errors import WireError
from mobilesplit.core.results import Array, contiguous
from mobilesplit.core.tensors import ITEMSIZE, DType

MAGIC = b"MSPL"
VERSION = 1
ALIGNMENT = 64
MAX_HEADER_NBYTES = 64 * 1024
MAX_BLOBS = 64
MAX_FRAME_NBYTES = 64 * 1024 * 1024
"""What a side accepts unless it is told otherwise."""

_PREFIX = struct.Struct("<4sBBHI")
_ZEROS = bytes(ALIGNMENT)
_NUMPY_DTYPES = {
    "float32": "<f4", "float16": "<f2", "float64": "<f8", "int8": "|i1", "uint8": "|u1",
    "int16": "<i2", "int32": "<i4", "int64": "<i8", "bool": "|b1",
}  # fmt: skip
assert _NUMPY_DTYPES.keys() == ITEMSIZE.keys()


class WireVersionError(WireError):
    """The other side speaks another version of the format."""


Name = Annotated[str, msgspec.Meta(max_length=256)]
# A dimension of 0 would carry nothing; the upper bound keeps products small integers.
Dimension = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class BlobSpec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the header says of a blob."""

    name: Name
    dtype: DType
    shape: Annotated[tuple[Dimension, ...], msgspec.Meta(max_length=8)]

    @property
    def nbytes(self) -> int:
        """Size of the raw elements."""
        return math.prod(self.shape) * ITEMSIZE[self.dtype]


class _Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    body: msgspec.Raw
    blobs: Annotated[tuple[BlobSpec, ...], msgspec.Meta(max_length=MAX_BLOBS)] = ()


@dataclass(frozen=True)
class Blob:
    """A named array on the wire; a file is a one-dimensional uint8 array."""

    name: str
    array: Array

    @property
    def nbytes(self) -> int:
        """Size of the raw elements."""
        return int(self.array.nbytes)


@dataclass(frozen=True)
class Frame:
    """A decoded frame; the arrays of ``blobs`` are read-only views of the received bytes."""

    kind: int
    body: bytes
    blobs: tuple[Blob, ...]


def filler(nbytes: int) -> tuple[Blob, ...]:
    """A payload of ``nbytes`` zeros, for measuring a link; none for 0."""
    return (Blob("filler", np.zeros(nbytes, np.uint8)),) if nbytes else ()


_header_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(_Header)


def encode_frame(kind: int, body: bytes, blobs: Sequence[Blob] = ()) -> bytes:
    """The bytes of a frame; ``body`` is the message as msgpack.

    Raises:
        WireError: for a dtype that the format has no name for, too many blobs, or an empty one.
    """
    if len(blobs) > MAX_BLOBS:
        raise WireError(f"A frame holds at most {MAX_BLOBS} blobs, not {len(blobs)}.")
    header = _header_encoder.encode(
        _Header(body=msgspec.Raw(body), blobs=tuple(_spec_of(blob) for blob in blobs))
    )
    if len(header) > MAX_HEADER_NBYTES:
        raise WireError(f"The header is {len(header)} bytes; at most {MAX_HEADER_NBYTES}.")
    parts: list[bytes | memoryview] = [
        _PREFIX.pack(MAGIC, VERSION, kind, 0, len(header)),
        header,
    ]
    end = _PREFIX.size + len(header)
    for blob in blobs:
        parts.append(_ZEROS[: _padding(end)])
        parts.append(contiguous(blob.array).reshape(-1).view(np.uint8).data)
        end += _padding(end) + blob.nbytes
    return b"".join(parts)


def decode_frame(data: bytes, *, max_nbytes: int = MAX_FRAME_NBYTES) -> Frame:
    """The frame in ``data``, without copying a blob.

    Raises:
        WireVersionError: for a frame of another version.
        WireError: for any other bytes that are not exactly one frame, saying why in one line.
    """
    if len(data) > max_nbytes:
        raise WireError(f"The frame is {len(data)} bytes; at most {max_nbytes} are accepted.")
    if len(data) < _PREFIX.size:
        raise WireError(f"The frame is {len(data)} bytes; its prefix alone is {_PREFIX.size}.")
    magic, version, kind, reserved, header_nbytes = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise WireError(f"The frame starts with {magic!r}, not {MAGIC!r}.")
    if version != VERSION:
        raise WireVersionError(
            f"The frame is of wire version {version}; this side speaks {VERSION}.",
            next_step="Install the same mobilesplit on both sides.",
        )
    if reserved != 0:
        raise WireError(f"The reserved field is {reserved}, not 0.")
    if header_nbytes > MAX_HEADER_NBYTES:
        raise WireError(f"The header claims {header_nbytes} bytes; at most {MAX_HEADER_NBYTES}.")
    end = _PREFIX.size + header_nbytes
    if end > len(data):
        raise WireError(f"The header claims {header_nbytes} bytes; the frame ends before.")
    try:
        header = _header_decoder.decode(memoryview(data)[_PREFIX.size : end])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"The header is invalid: {error}.") from None
    offsets = _offsets(header.blobs, end, len(data))
    if any(any(data[end:start]) for end, start in offsets):
        raise WireError("The padding is not zero.")
    blobs = tuple(
        _view(data, start, spec) for (_, start), spec in zip(offsets, header.blobs, strict=True)
    )
    return Frame(kind=kind, body=bytes(header.body), blobs=blobs)


def _padding(end: int) -> int:
    return -end % ALIGNMENT


def _offsets(specs: Sequence[BlobSpec], end: int, nbytes: int) -> list[tuple[int, int]]:
    """Where each blob's padding and content start; together they fill the frame exactly."""
    offsets = []
    for spec in specs:
        start = end + _padding(end)
        offsets.append((end, start))
        end = start + spec.nbytes
        if end > nbytes:
            raise WireError(
                f"Blob {spec.name!r} claims {spec.nbytes} bytes; "
                f"{max(nbytes - start, 0)} are left in the frame."
            )
    if end != nbytes:
        raise WireError(f"{nbytes - end} bytes follow the last blob.")
    return offsets


def _view(data: bytes, start: int, spec: BlobSpec) -> Blob:
    count = math.prod(spec.shape)
    if spec.dtype == "bool":
        # Other values are undefined behaviour for whoever reads them as bool.
        raw = np.frombuffer(data, np.uint8, count, start)
        if raw.max(initial=0) > 1:
            raise WireError(f"Blob {spec.name!r} is bool and holds bytes other than 0 and 1.")
    flat = np.frombuffer(data, np.dtype(_NUMPY_DTYPES[spec.dtype]), count, start)
    return Blob(spec.name, flat.reshape(spec.shape))


def _spec_of(blob: Blob) -> BlobSpec:
    dtype = blob.array.dtype.name
    if dtype not in _NUMPY_DTYPES:
        raise WireError(f"Blob {blob.name!r} is of dtype {dtype}, which frames do not carry.")
    if 0 in blob.array.shape:
        raise WireError(f"Blob {blob.name!r} is empty (shape {blob.array.shape}).")
    return BlobSpec(name=blob.name, dtype=dtype, shape=blob.array.shape)  # type: ignore[arg-type]
