from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mobilesplit.core.errors import ModelError, UnknownNameError, UsageError
from mobilesplit.segment.model_source import known_models, load_model, model_facts

OWN = """
import torch

def build():
    return torch.nn.Linear(2, 2)

def example_inputs():
    return (torch.ones(1, 2),)

def broken():
    raise ValueError("no weights here")

def number():
    return 3

def scripted():
    return torch.jit.trace(build(), example_inputs())

def with_weights(weights=None):
    model = torch.nn.Linear(2, 2)
    if weights is not None:
        torch.nn.init.constant_(model.bias, float(weights.read_text()))
    return model

def needs_the_extra():
    import transformers

def needs_something_else():
    import no_such_package
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_model_of_ones_own_is_loaded_from_its_file(own: Path) -> None:
    loaded = load_model(f"{own}:build")
    assert (loaded.weights, loaded.preprocess, loaded.labels) == ("unstated", None, None)
    assert not loaded.module.training
    assert loaded.name == "own"
    assert load_model(f"{own}:with_weights").name == "own:with_weights"


def test_a_model_of_ones_own_is_loaded_from_a_module(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(own.parent))
    assert load_model("own:build").name == "own:build"


def test_a_module_of_the_current_folder_is_found_without_being_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in_this_folder.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = list(sys.path)
    assert load_model("in_this_folder:build").name == "in_this_folder:build"
    assert sys.path == before


def test_a_model_file_may_import_its_neighbours(own: Path) -> None:
    (own.parent / "own_layers.py").write_text("import torch\n\nLin = torch.nn.Linear\n")
    own.write_text(OWN + "from own_layers import Lin\ndef near():\n    return Lin(2, 2)\n")
    before = list(sys.path)
    assert load_model(f"{own}:near").name == "own:near"
    assert sys.path == before


def test_files_of_one_name_are_modules_of_two(own: Path) -> None:
    other = own.parent / "other" / own.name
    other.parent.mkdir()
    layer = "class Own(torch.nn.Linear):\n    pass\ndef build():\n    return Own(2, 2)\n"
    for path in (own, other):
        path.write_text(OWN + layer)
    one, two = (type(load_model(f"{path}:build").module) for path in (own, other))
    assert one.__module__ != two.__module__
    assert getattr(sys.modules[one.__module__], "Own") is one  # noqa: B009


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Known: .*efficientnet-lite0"):
        load_model("efficientnet-lite9")


def test_listing_and_describing_models_loads_no_torch() -> None:
    code = (
        "import sys; from mobilesplit.segment.model_source import *; "
        "[model_facts(name) for name in known_models()]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_known_model_says_what_it_is() -> None:
    assert all(model_facts(name).description for name in known_models())


@pytest.mark.parametrize(
    ("function", "error", "why"),
    [
        ("missing", UsageError, "no function missing"),
        ("broken", ModelError, "ValueError: no weights here"),
        ("number", ModelError, "returned no nn.Module"),
        ("scripted", ModelError, r"returned a torch\.jit\.ScriptModule\. Return the nn"),
    ],
)
def test_what_is_no_model_is_refused(
    own: Path, function: str, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        load_model(f"{own}:{function}")


def test_a_missing_file_or_module_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        load_model(f"{tmp_path / 'none.py'}:build")
    with pytest.raises(UsageError, match="There is no module nowhere_at_all"):
        load_model("nowhere_at_all.models:build")


def test_weights_go_to_a_build_that_takes_them_and_name_where_they_are_from(
    own: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "three.txt"
    weights.write_text("3")
    loaded = load_model(f"{own}:with_weights", weights=weights)
    assert loaded.weights == "real: three.txt"
    assert loaded.module.bias.tolist() == [3, 3]


def test_weights_for_a_build_that_takes_none_are_the_users_mistake(own: Path) -> None:
    with pytest.raises(UsageError, match=r"build\(\) takes no weights\. Leave --weights out"):
        load_model(f"{own}:build", weights=Path("w.safetensors"))


def test_class_names_are_given_to_real_weights_only(own: Path, tmp_path: Path) -> None:
    own.write_text(OWN + "WEIGHTS = 'random'\nLABELS = 'imagenet-1k'\n")
    weights = tmp_path / "three.txt"
    weights.write_text("3")
    unlabelled = load_model(f"{own}:with_weights")
    assert unlabelled.labels is None
    assert unlabelled.notice is not None and "random weights" in unlabelled.notice
    assert "give --weights PATH" in unlabelled.notice
    untaken = load_model(f"{own}:build")
    assert untaken.notice is not None and "--weights" not in untaken.notice
    labelled = load_model(f"{own}:with_weights", weights=weights)
    assert (labelled.labels, labelled.notice) == ("imagenet-1k", None)


def test_a_missing_file_of_weights_is_one_line_with_its_path() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.safetensors: there is no such file"):
        load_model("unet", weights=Path("nowhere.safetensors"))


def test_a_package_of_the_extra_that_is_missing_is_told_how_to_get(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"pip install 'mobilesplit\[models\]'"):
        load_model(f"{own}:needs_the_extra")
    with pytest.raises(ModelError, match="No module named 'no_such_package'") as caught:
        load_model(f"{own}:needs_something_else")
    assert "pip" not in str(caught.value)


def test_files_that_a_model_needs_are_its_assets(own: Path) -> None:
    own.write_text(
        OWN + f"from pathlib import Path\ndef assets():\n    return {{'a': Path({str(own)!r})}}\n"
    )
    assert load_model(f"{own}:build").assets == {"a": own}


def test_a_file_without_a_function_is_told_how_to_name_one() -> None:
    with pytest.raises(UsageError, match=r"Write net\.py:build"):
        load_model("net.py")
