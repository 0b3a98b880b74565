"""What a job is run on (a photo, a text, ready tensors), and how it becomes the model's inputs."""

from __future__ import annotations

from dataclasses import dataclass

from mobilesplit.core.errors import InputFileError, UsageError
from mobilesplit.core.manifest import ImageInput, Manifest, TextInput
from mobilesplit.core.results import Array
from mobilesplit.wire.images import PhotoError, Pixels, normalise, to_pixels
from mobilesplit.wire.texts import TextEncoder, TextError


@dataclass(frozen=True)
class Photo:
    """A file as the user gave it."""

    name: str
    """For messages."""
    data: bytes
    """JPEG or PNG."""


@dataclass(frozen=True)
class Text:
    """A text as the user gave it, and its model's tokenizer."""

    name: str
    """For messages."""
    text: str
    """Any Unicode."""
    encoder: TextEncoder
    """Read from the bundle once: an app would not do it for every job."""


@dataclass(frozen=True)
class Tensors:
    """The model's inputs themselves, which need no preparation."""

    name: str
    """For messages."""
    arrays: tuple[Array, ...]
    """By the order of the boundary ``input``."""


Sample = Photo | Text | Tensors


def input_tensors(sample: Sample, manifest: Manifest) -> tuple[Array, ...]:
    """The model's inputs.

    Raises:
        UsageError: the model takes another kind of sample.
        InputFileError: the photo or text cannot be used.
    """
    if isinstance(sample, Tensors):
        return sample.arrays
    if isinstance(sample, Photo):
        return (normalise(photo_pixels(sample, manifest), photo_input(manifest)),)
    text_input(manifest)
    try:
        return sample.encoder.encode(sample.text)
    except TextError as error:
        raise InputFileError(sample.name, str(error), next_step="Give a shorter one.") from None


def photo_pixels(photo: Photo, manifest: Manifest) -> Pixels:
    """The model's window on a photo, uint8 (H, W, 3).

    Raises:
        UsageError: the model does not take photos.
        InputFileError: naming the file.
    """
    image_input = photo_input(manifest)
    try:
        return to_pixels(photo.data, image_input)
    except PhotoError as error:
        raise InputFileError(photo.name, str(error), next_step="Use a JPEG or PNG file.") from None


def photo_input(manifest: Manifest) -> ImageInput:
    """How the bundle's model takes a photo. Raises UsageError when it takes none."""
    if not isinstance(manifest.preprocess, ImageInput):
        raise _takes_something_else(manifest, "a photo")
    return manifest.preprocess


def text_input(manifest: Manifest) -> TextInput:
    """How the bundle's model takes a text. Raises UsageError when it takes none."""
    if not isinstance(manifest.preprocess, TextInput):
        raise _takes_something_else(manifest, "a text")
    return manifest.preprocess


def _takes_something_else(manifest: Manifest, given: str) -> UsageError:
    what = f"{manifest.model} does not take {given}"
    match manifest.preprocess:
        case ImageInput():
            return UsageError(f"{what} but a photo.", next_step="Give one with --image.")
        case TextInput():
            return UsageError(f"{what} but a text.", next_step="Give one with --text.")
        case None:
            return UsageError(
                f"{what}: its file states no PREPROCESS.",
                next_step="State it there and export again, or give no sample: the golden input"
                " is run then. See docs/models.md.",
            )
