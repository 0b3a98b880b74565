"""Which sample a command runs, before anything slow begins."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from mobilesplit.cli.outputs import are_scores, figures
from mobilesplit.cli.samples import choose_sample
from mobilesplit.client.samples import Photo, Tensors, Text
from mobilesplit.core.errors import BundleError, InputFileError, UsageError
from mobilesplit.core.manifest import Bundle, ImageInput, TextInput
from mobilesplit.core.tensors import TensorSpec
from tests.client.test_samples import IMAGE_INPUT
from tests.twice import make_manifest
from tests.wire.test_texts import HOW, tokenizer


def bundle(folder: Path, preprocess: ImageInput | TextInput | None) -> Bundle:
    """Its golden input and tokenizer are on disk."""
    save_file({"x": np.arange(4, dtype=np.float32)}, folder / "i")
    tokenizer().save(str(folder / HOW.tokenizer))
    manifest = make_manifest().model_copy(update={"preprocess": preprocess})
    return Bundle(root=folder, manifest=manifest)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    (tmp_path / "black.png").write_bytes(file.getvalue())
    return tmp_path / "black.png"


def test_each_model_is_given_what_it_takes(tmp_path: Path, image: Path) -> None:
    photo = choose_sample(bundle(tmp_path, IMAGE_INPUT), image, None)
    assert isinstance(photo, Photo) and photo.name == "black.png"
    text = choose_sample(bundle(tmp_path, HOW), None, "head")
    assert isinstance(text, Text) and text.encoder.encode(text.text)[0].tolist()[0][1] == 4


def test_without_a_sample_photos_have_a_default_and_all_else_the_golden_input(
    tmp_path: Path,
) -> None:
    photo = choose_sample(bundle(tmp_path, IMAGE_INPUT), None, None)
    assert isinstance(photo, Photo) and photo.name == "flower.jpg"
    for preprocess in (HOW, None):
        golden = choose_sample(bundle(tmp_path, preprocess), None, None)
        assert isinstance(golden, Tensors)
        assert [array.tolist() for array in golden.arrays] == [[0, 1, 2, 3]]


def test_what_the_model_does_not_take_is_refused_before_it_is_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.jpg"
    with pytest.raises(UsageError, match="does not take a photo but a text"):
        choose_sample(bundle(tmp_path, HOW), missing, None)
    with pytest.raises(UsageError, match="PREPROCESS"):
        choose_sample(bundle(tmp_path, None), missing, None)
    with pytest.raises(UsageError, match="does not take a text but a photo"):
        choose_sample(bundle(tmp_path, IMAGE_INPUT), None, "head")
    with pytest.raises(UsageError, match="Give --image or --text"):
        choose_sample(bundle(tmp_path, IMAGE_INPUT), missing, "head")
    with pytest.raises(InputFileError, match=r"missing\.jpg: No such file"):
        choose_sample(bundle(tmp_path, IMAGE_INPUT), missing, None)


def test_a_bundle_whose_tokenizer_is_none_says_so(tmp_path: Path) -> None:
    damaged = bundle(tmp_path, HOW)
    (tmp_path / HOW.tokenizer).write_text("{}")
    with pytest.raises(BundleError, match="no tokenizer"):
        choose_sample(damaged, None, "head")


@pytest.mark.parametrize(
    ("shape", "preprocess", "scores"),
    [
        ((1, 1000), IMAGE_INPUT, True),
        ((7,), None, True),
        ((1, 384), HOW, False),
        ((1, 2, 8, 8), IMAGE_INPUT, False),
        ((2, 3), None, False),
        ((), None, False),
    ],
)
def test_only_a_row_is_scores_and_no_texts_vector(
    shape: tuple[int, ...], preprocess: ImageInput | TextInput | None, scores: bool
) -> None:
    spec = TensorSpec(name="y", dtype="float32", shape=shape)
    update = {"outputs": (spec,), "preprocess": preprocess}
    assert are_scores(make_manifest().model_copy(update=update)) is scores


def test_an_outputs_figures_are_its_shape_norm_and_first_values() -> None:
    given = np.array([3, 4, 0, 0], np.float32)
    assert figures(make_manifest(), (given,)) == [
        {"name": "x", "dtype": "float32", "shape": [4], "norm": 5.0, "first": [3, 4, 0, 0]}
    ]
