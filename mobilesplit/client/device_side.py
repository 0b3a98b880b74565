"""What the app on the phone does besides the head: it prepares the photo and encodes.

The client runs on this computer. On an emulated device its work is stretched by the device's
declared slow-down, as the runner's is; on a real device the factor is 1 and the time is this
computer's, which the documents say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from mobilesplit.core.errors import InputFileError, UsageError
from mobilesplit.core.manifest import ImageInput, Manifest
from mobilesplit.core.results import Array
from mobilesplit.wire.images import PhotoError, Pixels, normalise, to_pixels

T = TypeVar("T")


def stretched(work: Callable[[], T], slowdown: float) -> tuple[T, float]:
    """Do ``work``, then wait until ``slowdown`` times its time has passed; also that time, ms."""
    started_s = time.perf_counter()
    result = work()
    worked_s = time.perf_counter() - started_s
    if slowdown > 1:
        time.sleep(worked_s * (slowdown - 1))
    return result, worked_s * slowdown * 1e3


def photo_input(manifest: Manifest) -> ImageInput:
    """How the bundle's model takes a photo. Raises UsageError when it takes none."""
    if manifest.preprocess is None:
        raise UsageError(
            f"{manifest.model} does not take a photo.",
            next_step="Use a model of `mobilesplit models`.",
        )
    return manifest.preprocess


def photo_pixels(photo: bytes, image_input: ImageInput, *, name: str) -> Pixels:
    """The model's window on a photo, uint8 (H, W, 3). Raises InputFileError naming the file."""
    try:
        return to_pixels(photo, image_input)
    except PhotoError as error:
        raise InputFileError(name, str(error), next_step="Use a JPEG or PNG file.") from None


def photo_tensor(photo: bytes, image_input: ImageInput, *, name: str) -> Array:
    """The model's input, float32 (1, 3, H, W). Raises InputFileError naming the file."""
    return normalise(photo_pixels(photo, image_input, name=name), image_input)
