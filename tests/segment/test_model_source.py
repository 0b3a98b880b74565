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


def test_a_model_of_ones_own_is_loaded_from_a_module(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(own.parent))
    assert load_model("own:build").name == "own:build"


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
