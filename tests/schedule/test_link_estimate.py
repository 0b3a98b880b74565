"""The link estimate recovers the link that drew the samples."""

from __future__ import annotations

import random

import pytest

from mobilesplit.schedule.link_estimate import estimate_link


@pytest.mark.parametrize("jitter_ms", [0.0, 5.0, 30.0])
def test_round_trip_and_jitter_are_told_apart(jitter_ms: float) -> None:
    rng = random.Random(7)
    estimates = [
        estimate_link(
            rtt_ms=[50 + rng.uniform(0, jitter_ms) + rng.uniform(0, jitter_ms) for _ in range(20)],
            uplink_bps=[12e6],
            downlink_bps=[40e6],
            name="test",
        )
        for _ in range(200)
    ]
    rtt_ms = sum(link.rtt_ms for link in estimates) / len(estimates)
    found_jitter_ms = sum(link.jitter_ms for link in estimates) / len(estimates)
    assert rtt_ms == pytest.approx(50, abs=0.1 * jitter_ms + 0.01)
    assert found_jitter_ms == pytest.approx(jitter_ms, abs=0.1 * jitter_ms + 0.01)


def test_without_samples_there_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="need samples"):
        estimate_link(rtt_ms=[], uplink_bps=[1.0], downlink_bps=[1.0], name="test")
