"""What changed between two profiles, and whether it is more than noise."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from mobilesplit.core.profile_changes import compare_profiles
from mobilesplit.core.profiles import SCHEMA, CodecCost, CutProfile, DeviceFacts, Profile


def profile(heads: dict[str, Sequence[float]], device: str = "phone") -> Profile:
    return Profile(
        schema_=SCHEMA,
        model="m",
        device=DeviceFacts(name=device),
        cuts=tuple(
            CutProfile(
                id=cut_id,
                codecs={"raw": CodecCost(bytes=1)},
                head_ms=tuple(samples),
                tail_ms={"1": (1.0,)},
            )
            for cut_id, samples in heads.items()
        ),
    )


def around(middle: float, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [middle * (1 + rng.gauss(0, 0.03)) for _ in range(60)]


def test_a_change_within_the_noise_is_told_from_one_beyond_it() -> None:
    old = profile({"input": [0.0], "same": around(10, 1), "slower": around(10, 2)})
    new = profile({"input": [0.0], "same": around(10.05, 3), "slower": around(12, 4)})
    same, slower = compare_profiles(old, new).heads
    assert (same.cut, same.is_real) == ("same", False)
    assert (slower.cut, slower.is_real) == ("slower", True)
    assert slower.ratio == pytest.approx(0.2, abs=0.02)


def test_without_intervals_nobody_knows() -> None:
    (change,) = compare_profiles(profile({"a": [1.0]}), profile({"a": [2.0]})).heads
    assert change.noise is None
    assert change.is_real is None


def test_what_only_one_has_and_what_makes_them_hard_to_compare_is_told() -> None:
    changes = compare_profiles(
        profile({"a": [1.0], "b": [1.0]}), profile({"b": [1.0], "c": [1.0]}, "other")
    )
    assert (changes.added, changes.removed) == (("c",), ("a",))
    assert changes.remarks == ("another device: phone, now other",)
