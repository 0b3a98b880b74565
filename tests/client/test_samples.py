"""What a job is run on, and which model takes it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mobilesplit.client.samples import Photo, Sample, Tensors, Text, input_tensors
from mobilesplit.core.errors import InputFileError, UsageError
from mobilesplit.core.manifest import ImageInput, Manifest, TextInput
from mobilesplit.wire.texts import MAX_TEXT_NBYTES, TextEncoder
from tests.twice import make_manifest
from tests.wire.test_texts import HOW, tokenizer

IMAGE_INPUT = ImageInput(
    height=2, width=2, resize_shorter=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)
READY = Tensors("the golden input", (np.ones(3, np.float32),))


def taking(preprocess: ImageInput | TextInput | None) -> Manifest:
    return make_manifest().model_copy(update={"preprocess": preprocess})


def photo() -> Photo:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(file, "PNG")
    return Photo("white.png", file.getvalue())


def text(content: str = "head tail") -> Text:
    return Text("the text", content, TextEncoder(tokenizer().to_str().encode(), HOW))


def test_a_photo_becomes_the_normalised_window() -> None:
    (image,) = input_tensors(photo(), taking(IMAGE_INPUT))
    np.testing.assert_array_equal(image, np.ones((1, 3, 2, 2), np.float32))


def test_a_text_becomes_ids_and_mask() -> None:
    ids, mask = input_tensors(text(), taking(HOW))
    assert (ids.tolist(), mask.tolist()) == ([[1, 4, 5, 2, 9, 9]], [[1, 1, 1, 1, 0, 0]])


@pytest.mark.parametrize("preprocess", [IMAGE_INPUT, HOW, None])
def test_ready_tensors_are_handed_through(preprocess: ImageInput | TextInput | None) -> None:
    assert input_tensors(READY, taking(preprocess)) is READY.arrays


@pytest.mark.parametrize(
    ("sample", "preprocess", "says"),
    [
        (photo(), HOW, "does not take a photo but a text. Give one with --text"),
        (text(), IMAGE_INPUT, "does not take a text but a photo. Give one with --image"),
        (photo(), None, "does not take a photo: its file states no PREPROCESS"),
        (text(), None, "does not take a text: its file states no PREPROCESS"),
    ],
)
def test_what_the_model_does_not_take_is_refused_with_what_it_takes(
    sample: Sample, preprocess: ImageInput | TextInput | None, says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        input_tensors(sample, taking(preprocess))
    assert says in str(caught.value)


def test_a_sample_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InputFileError, match=r"notes\.txt: .*not a JPEG or PNG"):
        input_tensors(Photo("notes.txt", b"hello"), taking(IMAGE_INPUT))
    with pytest.raises(InputFileError, match="the text: a text has at most"):
        input_tensors(text("a" * (MAX_TEXT_NBYTES + 1)), taking(HOW))
