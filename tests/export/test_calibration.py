from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from mobilesplit.core.errors import InputFileError
from mobilesplit.core.manifest import ImageInput
from mobilesplit.export.calibration import digest, load_calibration
from mobilesplit.segment.model_source import LoadedModel
from mobilesplit.wire.texts import TextError

PHOTO = ImageInput(height=8, width=8, resize_shorter=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def model(preprocess: ImageInput | None, *inputs: Tensor) -> LoadedModel:
    return LoadedModel("tiny", nn.Identity(), inputs, "random", preprocess, None, "")


PHOTO_MODEL = model(PHOTO, torch.zeros(1, 3, 8, 8))
PAIR_MODEL = model(None, torch.zeros(1, 2), torch.zeros(1, 3, dtype=torch.int64))
TEXT_MODEL = model(None, torch.zeros(1, 4, dtype=torch.int64))


def save_photo(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 12, 3), level, np.uint8)).save(path)


def letters(text: str) -> tuple[Tensor, ...]:
    return (torch.tensor([[ord(letter) for letter in text.ljust(4)[:4]]]),)


def test_photos_of_all_subfolders_become_the_models_input_in_the_order_of_their_paths(
    tmp_path: Path,
) -> None:
    save_photo(tmp_path / "b" / "white.png", 255)
    save_photo(tmp_path / "a.JPG", 0)
    (tmp_path / "README.md").write_text("not an input")
    inputs = load_calibration(tmp_path, PHOTO_MODEL, ["x"])
    assert [tuple(tensor.shape for tensor in tensors) for tensors in inputs] == [
        ((1, 3, 8, 8),)
    ] * 2
    assert [float(tensors[0].mean()) for tensors in inputs] == pytest.approx([-1.0, 1.0], abs=0.02)


def test_of_too_many_files_the_same_ones_are_chosen_each_time(tmp_path: Path) -> None:
    for level in range(20):
        save_photo(tmp_path / f"{level:02}.png", level * 10)
    chosen, again = (load_calibration(tmp_path, PHOTO_MODEL, ["x"], max_inputs=5) for _ in range(2))
    levels = [float(tensors[0].mean()) for tensors in chosen]
    assert len(set(levels)) == 5
    assert levels == sorted(levels)
    assert digest(chosen) == digest(again)


def test_tensors_are_taken_by_the_names_of_the_inputs(tmp_path: Path) -> None:
    ids = torch.tensor([[1, 2, 3]])
    save_file({"ids": ids, "x": torch.ones(1, 2)}, tmp_path / "one.safetensors")
    ((x, found),) = load_calibration(tmp_path, PAIR_MODEL, ["x", "ids"])
    assert torch.equal(x, torch.ones(1, 2))
    assert torch.equal(found, ids)


def test_every_line_of_a_text_file_that_is_not_blank_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("cat\n\n  \ndog\n", encoding="utf-8")
    inputs = load_calibration(tmp_path, TEXT_MODEL, ["ids"], prepare_text=letters)
    assert [tuple(tensors[0][0].tolist()) for tensors in inputs] == [
        tuple(map(ord, "cat ")),
        tuple(map(ord, "dog ")),
    ]


def test_the_digest_changes_with_a_byte_and_with_the_order() -> None:
    one, two = (torch.tensor([1.0]),), (torch.tensor([2.0]),)
    assert len({digest([one, two]), digest([two, one]), digest([one])}) == 3


@pytest.mark.parametrize("missing", ["nowhere", "file"])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputFileError, match=f"{missing}: there is no such folder"):
        load_calibration(tmp_path / missing, PHOTO_MODEL, ["x"])


def test_a_folder_without_anything_to_use_says_what_to_put_there(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("none")
    with pytest.raises(InputFileError, match=r"nothing to calibrate with.*JPEG, PNG"):
        load_calibration(tmp_path, PHOTO_MODEL, ["x"])


@pytest.mark.parametrize(
    ("name", "content", "loaded", "why"),
    [
        ("bad.jpg", b"no photo", PHOTO_MODEL, "not a JPEG or PNG file"),
        ("a.png", b"whatever", TEXT_MODEL, "takes no photos"),
        ("a.txt", b"cat", PHOTO_MODEL, "takes no text"),
        ("a.txt", b"\xff\xfe", PHOTO_MODEL, "not UTF-8"),
        ("a.safetensors", b"nonsense", PAIR_MODEL, "no safetensors file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, content: bytes, loaded: LoadedModel, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    names = [f"input_{index}" for index in range(len(loaded.example_inputs))]
    with pytest.raises(InputFileError, match=f"{name}: .*{why}"):
        load_calibration(tmp_path, loaded, names)


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({"x": torch.ones(1, 2)}, "no tensor 'ids'"),
        ({"x": torch.ones(2, 2), "ids": torch.zeros(1, 3, dtype=torch.int64)}, r"\(2, 2\)"),
        ({"x": torch.ones(1, 2), "ids": torch.ones(1, 3)}, "torch.float32"),
    ],
)
def test_tensors_of_another_form_are_refused(
    tmp_path: Path, tensors: dict[str, Tensor], why: str
) -> None:
    save_file(tensors, tmp_path / "one.safetensors")
    with pytest.raises(InputFileError, match=rf"one\.safetensors: .*{why}"):
        load_calibration(tmp_path, PAIR_MODEL, ["x", "ids"])


def test_a_text_that_the_tokenizer_refuses_is_named_by_file_and_line(tmp_path: Path) -> None:
    def short_only(text: str) -> tuple[Tensor, ...]:
        if len(text) > 4:
            raise TextError("a text has at most 4 bytes")
        return letters(text)

    (tmp_path / "a.txt").write_text("cat\n\nelephant\n", encoding="utf-8")
    with pytest.raises(InputFileError, match=r"a\.txt: line 3: a text has at most 4 bytes"):
        load_calibration(tmp_path, TEXT_MODEL, ["ids"], prepare_text=short_only)


def test_text_that_becomes_something_else_than_the_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("cat", encoding="utf-8")
    with pytest.raises(InputFileError, match=r"a\.txt: .*\(1, 7\) instead of torch.int64 \(1, 4\)"):
        load_calibration(
            tmp_path,
            TEXT_MODEL,
            ["ids"],
            prepare_text=lambda _: (torch.zeros(1, 7, dtype=torch.int64),),
        )
