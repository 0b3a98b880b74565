"""What a job is run on: the user's photo or text, or what stands in for them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mobilesplit.cli.console import read_file
from mobilesplit.core.errors import BundleError, InputFileError, UsageError

if TYPE_CHECKING:
    from mobilesplit.client.samples import Photo, Sample, Tensors, Text
    from mobilesplit.core.manifest import Bundle

_NEXT_STEP = "Give a JPEG or PNG file with --image."


def choose_sample(bundle: Bundle, image: Path | None, text: str | None) -> Sample:
    """The user's photo or text, if its model takes such a thing.

    Of neither: scikit-learn's photo for a model that takes photos, else the golden input.

    Raises:
        UsageError: both were given, or what the model does not take.
        InputFileError: the photo is missing, unreadable, or not an image.
        BundleError: the bundle's tokenizer is none.
    """
    from mobilesplit.client.samples import photo_input, text_input
    from mobilesplit.core.manifest import ImageInput

    if image is not None and text is not None:
        raise UsageError("a photo and a text were given.", next_step="Give --image or --text.")
    if text is not None:
        text_input(bundle.manifest)
        return _load_text(bundle, text)
    if image is None and not isinstance(bundle.manifest.preprocess, ImageInput):
        return golden_input(bundle)
    photo_input(bundle.manifest)
    return load_photo(image)


def load_photo(path: Path | None) -> Photo:
    """The file ``path``, or scikit-learn's flower.jpg (class 985, daisy) for None.

    Raises:
        InputFileError: missing, unreadable, or not an image.
    """
    from mobilesplit.client.samples import Photo
    from mobilesplit.wire.images import PhotoError, open_photo

    path = path or _flower()
    data = read_file(path, next_step=_NEXT_STEP)
    try:
        open_photo(data)
    except PhotoError as error:
        raise InputFileError(str(path), str(error), next_step=_NEXT_STEP) from None
    return Photo(path.name, data)


def golden_input(bundle: Bundle) -> Tensors:
    """The inputs that the bundle was verified with."""
    from safetensors.numpy import load_file

    from mobilesplit.client.samples import Tensors

    golden = load_file(bundle.path(bundle.manifest.golden_input))
    names = [spec.name for spec in bundle.manifest.cuts[0].cut.boundary]
    return Tensors("the golden input", tuple(golden[name] for name in names))


def _load_text(bundle: Bundle, text: str) -> Text:
    from mobilesplit.client.samples import Text, text_input
    from mobilesplit.wire.texts import TextEncoder, TextError

    how = text_input(bundle.manifest)
    path = bundle.path(how.tokenizer)
    try:
        encoder = TextEncoder(read_file(path, next_step="Export the bundle again."), how)
    except TextError as error:
        raise BundleError(f"{path}: {error}.", next_step="Export the bundle again.") from None
    return Text("the text", text, encoder)


def _flower() -> Path:
    # Found without importing scikit-learn, which takes a second.
    spec = find_spec("sklearn")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "images" / "flower.jpg"
