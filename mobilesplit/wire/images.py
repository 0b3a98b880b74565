"""A photo becomes the model's input, the same on the phone's side and in the cloud.

Pure: bytes in, arrays out. Sizes are checked from the file's header, before pixels are decoded.

Shapes: H, W rows and columns; pixels_HWC is uint8 RGB.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from mobilesplit.core.manifest import ImageInput

Pixels = npt.NDArray[np.uint8]

MAX_PHOTO_NBYTES = 64 * 1024 * 1024
MAX_PIXELS = 50_000_000


class PhotoError(ValueError):
    """The bytes are not a photo that can be used; the message says why, without a full stop."""


def open_photo(data: bytes | memoryview) -> Pixels:
    """A JPEG or PNG file as upright RGB pixels (H, W, 3); transparency is dropped.

    Raises:
        PhotoError: not a JPEG or PNG, damaged, or larger than the limits.
    """
    return np.asarray(_upright_rgb(data))


def to_pixels(data: bytes | memoryview, image_input: ImageInput) -> Pixels:
    """A JPEG or PNG file as the model's window on it: resized, cropped, uint8 (H, W, 3).

    A crop larger than the resized photo is filled up with black.

    Raises:
        PhotoError: as `open_photo`; or so elongated that the resize would exceed the limit.
    """
    photo = _upright_rgb(data)
    scale = image_input.resize_shorter / min(photo.size)
    size = (max(round(photo.width * scale), 1), max(round(photo.height * scale), 1))
    if size[0] * size[1] > MAX_PIXELS:
        raise PhotoError(f"a photo of {photo.width} x {photo.height} is too elongated")
    resized = photo.resize(size, Image.Resampling.BICUBIC)
    left = round((size[0] - image_input.width) / 2)
    top = round((size[1] - image_input.height) / 2)
    window = (left, top, left + image_input.width, top + image_input.height)
    return np.asarray(resized.crop(window))


def normalise(pixels_HWC: Pixels, image_input: ImageInput) -> npt.NDArray[np.float32]:  # noqa: N803
    """``(pixel / 255 - mean) / std`` as a contiguous float32 tensor (1, 3, H, W)."""
    assert pixels_HWC.shape == (image_input.height, image_input.width, 3), pixels_HWC.shape
    std = np.asarray(image_input.std, np.float32)
    scale = np.float32(1 / 255) / std
    shift = np.asarray(image_input.mean, np.float32) / std
    chw = pixels_HWC.transpose(2, 0, 1).astype(np.float32, order="C")
    chw *= scale[:, None, None]
    chw -= shift[:, None, None]
    return chw[None]


def _upright_rgb(data: bytes | memoryview) -> Image.Image:
    if len(data) > MAX_PHOTO_NBYTES:
        raise PhotoError(f"{len(data)} bytes; a photo has at most {MAX_PHOTO_NBYTES}")
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG", "PNG"])
    except Image.DecompressionBombError as error:
        raise PhotoError(f"too many pixels: {error}") from None
    except Exception as error:
        # Pillow's parsers raise whatever a damaged file makes them stumble over.
        raise PhotoError("not a JPEG or PNG file") from error
    if image.width * image.height > MAX_PIXELS:
        raise PhotoError(
            f"{image.width} x {image.height} pixels; a photo has at most {MAX_PIXELS:,}"
        )
    try:
        image.load()
        return _rgb(ImageOps.exif_transpose(image))
    except Exception as error:
        raise PhotoError(f"a damaged photo: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion clips to 255 instead of scaling.
        grey: npt.NDArray[Any] = np.asarray(image).astype(np.uint32) >> 8
        return Image.fromarray(np.minimum(grey, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
