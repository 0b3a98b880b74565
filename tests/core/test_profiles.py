"""The profile document: the smallest that is valid, and every mistake at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mobilesplit.core.errors import InputFileError
from mobilesplit.core.profiles import Profile


def smallest() -> dict[str, Any]:
    return {
        "schema": "mobilesplit.profile/1",
        "model": "vgg16",
        "cuts": [
            {"id": "input", "codecs": {"raw": {"bytes": 602112}}, "head_ms": [0.0],
             "tail_ms": {"1": [21.9, 22.3]}},
            {"id": "output", "codecs": {"raw": {"bytes": 4000}}, "head_ms": [90.0],
             "tail_ms": {"1": [0.0]}},
        ],
    }  # fmt: skip


def test_only_what_the_format_requires_is_required() -> None:
    profile = Profile.load(json.dumps(smallest()), source="hand.json")
    assert profile.find("input").tail_ms["1"] == (21.9, 22.3)
    assert profile.device.emulated is False


def test_a_saved_profile_loads_as_the_same() -> None:
    profile = Profile.load(json.dumps(smallest()), source="hand.json")
    assert Profile.load(profile.save(), source="again.json") == profile


def test_all_mistakes_are_reported_at_once_with_their_path() -> None:
    document = smallest()
    document["cuts"][0]["head_ms"] = []
    document["cuts"][1]["tail_ms"] = {"8": [1.0]}
    document["speed"] = 4
    with pytest.raises(InputFileError) as caught:
        Profile.load(json.dumps(document), source="hand.json")
    text = str(caught.value)
    assert "$.cuts.0.head_ms" in text
    assert "$.cuts.1" in text and "batch 1" in text
    assert "$.speed" in text
    assert text.startswith("hand.json: ")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "mobilesplit.profile/9"},
        {"cuts": []},
        {"cuts": [smallest()["cuts"][0], smallest()["cuts"][0]]},
        {"model": None},
    ],
)
def test_what_is_no_profile_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputFileError):
        Profile.load(json.dumps({**smallest(), **change}), source="hand.json")


def test_infinite_and_negative_times_are_refused() -> None:
    text = json.dumps(smallest())
    for wrong in ("-1.0", "NaN", "Infinity"):
        with pytest.raises(InputFileError):
            Profile.load(text.replace("90.0", wrong), source="hand.json")
