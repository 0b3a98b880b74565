from __future__ import annotations

from pathlib import Path

import pytest

from mobilesplit.core.errors import InputFileError, UnknownNameError
from mobilesplit.emulator.device_description import known_descriptions, load_description


def test_every_description_of_the_repository_loads_under_its_own_name() -> None:
    assert known_descriptions() == ["budget-2017", "flagship-2024", "midrange-2021"]
    for name in known_descriptions():
        assert load_description(name).name == name


@pytest.mark.parametrize(
    ("name", "inference", "general"),
    [("budget-2017", 28, 6), ("midrange-2021", 4, 2.5), ("flagship-2024", 1.4, 1.2)],
)
def test_slowdowns_are_the_declared_ones(name: str, inference: float, general: float) -> None:
    description = load_description(name)
    assert (description.inference_slowdown, description.general_slowdown) == (inference, general)
    assert "not measured" in description.sources["inference_slowdown"]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="budget-2017, flagship-2024"):
        load_description("pixel")


def test_a_wrong_file_tells_every_mistake_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: wrong\ncolour: red\npower: {idle_w: -1}\n")
    with pytest.raises(InputFileError) as caught:
        load_description(str(path))
    for place in ("$.colour", "$.power.idle_w", "$.memory_bytes"):
        assert place in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"none\.yaml: No such file"):
        load_description(str(tmp_path / "none.yaml"))
