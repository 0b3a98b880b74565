"""Weights of a local file or folder, or random and always the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTForImageClassification

from mobilesplit.core.errors import InputFileError
from mobilesplit.segment.weights import network, read_weights, seeded, transformer

IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
VIT = ViTConfig(
    hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
    image_size=32, num_labels=3,
)  # fmt: skip


def tiny() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 2))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.fixture
def trained() -> nn.Module:
    """Weights that no seed gives."""
    module = tiny()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.5)
    return module


@pytest.fixture
def file(tmp_path: Path, trained: nn.Module) -> Path:
    path = tmp_path / "trained.safetensors"
    save_file(state(trained), path)
    return path


def equal(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def test_random_weights_are_the_same_every_time_and_disturb_nobody_elses() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = seeded(tiny)
    assert torch.equal(torch.rand(3), expected)
    assert equal(first, seeded(tiny))


def test_the_weights_of_a_file_become_the_networks(file: Path, trained: nn.Module) -> None:
    loaded = network(tiny, file)
    assert equal(loaded, trained)
    assert not loaded.training


def test_a_folder_may_hold_them_whole_or_in_parts(tmp_path: Path, trained: nn.Module) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    save_file(state(trained), whole / "model.safetensors")
    names = {}
    for number, (name, tensor) in enumerate(state(trained).items()):
        names[name] = f"part-{number}.safetensors"
        save_file({name: tensor}, parts / names[name])
    (parts / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert equal(network(tiny, whole), trained)
    assert equal(network(tiny, parts), trained)


def test_the_first_weight_that_differs_is_named(file: Path, tmp_path: Path) -> None:
    good = read_weights(file)
    lacking = {name: tensor for name, tensor in good.items() if not name.startswith("3.")}
    wrong = {
        "lacks '3.bias' \\(and 1 more\\)": lacking,
        "has 'extra', this model has not": {**good, "extra": torch.ones(1)},
        "'3.bias' is \\[5\\], in this model \\[2\\]": {**good, "3.bias": torch.ones(5)},
    }
    for says, tensors in wrong.items():
        path = tmp_path / "wrong.safetensors"
        save_file(tensors, path)
        with pytest.raises(InputFileError, match=says):
            network(tiny, path)


def test_a_pickle_is_refused_unopened_as_a_file_and_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    path = folder / "pytorch_model.bin"
    path.write_bytes(b"not even a pickle")
    for given in (path, folder):
        with pytest.raises(
            InputFileError, match=r"pytorch_model\.bin: a pickle, which can run any"
        ):
            read_weights(given)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: path.write_bytes(b"x" * 100), "no safetensors file"),
        (lambda path: path.mkdir(), r"has no model\.safetensors"),
    ],
)
def test_what_holds_no_weights_is_one_line_with_its_path(
    tmp_path: Path, make: object, says: str
) -> None:
    path = tmp_path / "weights.safetensors"
    make(path)  # type: ignore[operator]
    with pytest.raises(InputFileError, match=says) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../trained.safetensors", "..", ".", "", "part.bin", 3])
def test_an_index_names_safetensors_files_beside_it_and_nothing_else(
    tmp_path: Path, file: Path, name: object
) -> None:
    folder = tmp_path / "sharded"
    folder.mkdir()
    (folder / "part.bin").write_bytes(b"not even a pickle")
    index = {"weight_map": {"0.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputFileError, match=f"names '{name}', no safetensors file beside it"):
        read_weights(folder)


def test_a_folder_where_a_file_should_be_is_not_searched(tmp_path: Path, file: Path) -> None:
    (tmp_path / "part.safetensors").mkdir()
    file.rename(tmp_path / "part.safetensors" / "model.safetensors")
    index = {"weight_map": {"0.weight": "part.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputFileError, match=r"part\.safetensors: is no safetensors file"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.ones(2, dtype=torch.int8), r"'3\.bias' is torch\.int8, in this model floats"),
        (torch.tensor([0.0, torch.nan]), r"'3\.bias' has infinite values or NaN"),
        (torch.tensor([torch.inf, 0.0]).to(torch.float16), r"'3\.bias' has infinite"),
        (torch.tensor([0.0, torch.nan]).to(torch.float8_e4m3fn), r"'3\.bias' has infinite"),
    ],
)
def test_weights_that_no_model_has_are_refused_by_the_first_key(
    file: Path, value: Tensor, says: str
) -> None:
    save_file({**read_weights(file), "3.bias": value}, file)
    with pytest.raises(InputFileError, match=says) as refused:
        network(tiny, file)
    assert "\n" not in str(refused.value)


def test_integers_are_weights_only_where_the_model_counts_with_them(tmp_path: Path) -> None:
    def counting() -> nn.Module:
        return nn.BatchNorm1d(2)

    path = tmp_path / "counted.safetensors"
    counted = {**state(counting()), "num_batches_tracked": torch.tensor(3)}
    save_file(counted, path)
    assert int(network(counting, path).state_dict()["num_batches_tracked"]) == 3
    save_file({**counted, "num_batches_tracked": torch.tensor(3.0)}, path)
    with pytest.raises(InputFileError, match=r"is torch\.float32, in this model integers"):
        network(counting, path)


def test_a_quantised_checkpoint_of_a_transformer_is_refused(tmp_path: Path) -> None:
    ViTForImageClassification(VIT).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = read_weights(file)
    key = "classifier.weight"
    save_file({**weights, key: weights[key].to(torch.int8)}, file)
    with pytest.raises(InputFileError, match=r"'classifier\.weight' is torch\.int8"):
        transformer(ViTForImageClassification, VIT, tmp_path)


def test_a_folder_that_transformers_saved_is_loaded_under_its_older_names_too(
    tmp_path: Path,
) -> None:
    saved = ViTForImageClassification(VIT).eval()
    saved.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as written:
        names = set(written.keys())
    # As the published checkpoints have them, which the class itself does not.
    assert "vit.encoder.layer.0.attention.attention.query.weight" in names
    assert names.isdisjoint(name for name in saved.state_dict() if "attention" in name)
    loaded = transformer(ViTForImageClassification, VIT, tmp_path)
    assert equal(loaded, saved)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGE).logits, saved(IMAGE).logits)


def test_a_checkpoint_of_another_transformer_is_refused_by_its_first_difference(
    tmp_path: Path,
) -> None:
    ViTForImageClassification(VIT).save_pretrained(tmp_path)
    deeper = ViTConfig(**{**VIT.to_dict(), "num_hidden_layers": 3})
    with pytest.raises(InputFileError, match=r"lacks '.*2\..*' \(and \d+ more\)"):
        transformer(ViTForImageClassification, deeper, tmp_path)
    other_classes = ViTConfig(**{**VIT.to_dict(), "num_labels": 5})
    with pytest.raises(InputFileError, match=r"'classifier\.\w+' .*is \[3.*, in this model \[5"):
        transformer(ViTForImageClassification, other_classes, tmp_path)
