"""One pass measures heads and their encoders, and keeps what is the head's own apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mobilesplit.core.cuts import Cut
from mobilesplit.core.manifest import BundleCut, Deviation, Encoder, Manifest
from mobilesplit.device import profile_heads
from mobilesplit.device.device import Device
from mobilesplit.device.energy import RailReading
from mobilesplit.device.profile_heads import measure_heads
from mobilesplit.device.push import REMOTE_FOLDER, Pushed, push_file
from mobilesplit.device.runner import BenchSettings
from tests.device.conftest import STAND_IN
from tests.twice import X, make_manifest


def manifest() -> Manifest:
    """input -> block, which has two encoders -> output."""
    deviation = Deviation(num_inputs=1, max_abs_error=0.0, snr_db=200.0)
    encoders = {
        codec: Encoder(method=f"encode_{codec}_4", deviation=deviation)
        for codec in ("fp16", "int8")
    }
    methods = (("input", None, {}), ("block", "head_block", encoders), ("output", "head_all", {}))
    cuts = tuple(
        BundleCut(
            cut=Cut(id=cut_id, depth=n, boundary=(X,), head_flops=n, tail_flops=2 - n),
            method=method,
            first_stage=n,
            max_abs_error=0.0,
            encoders=own,
        )
        for n, (cut_id, method, own) in enumerate(methods)
    )
    return make_manifest().model_copy(update={"cuts": cuts})


@pytest.fixture
def pushed(device: Device) -> Pushed:
    device.check_shell(f"mkdir -p {REMOTE_FOLDER}")
    push_file(device, STAND_IN, f"{REMOTE_FOLDER}/runner", mode=0o755)
    return Pushed(f"{REMOTE_FOLDER}/runner", f"{REMOTE_FOLDER}/program.pte", 0)


def readings() -> Iterator[RailReading]:
    """Idle 100 mW over a second; then, for each head, 20 mJ above it in the next second."""
    time_ms, energy_uws = 0, 0
    yield RailReading(time_ms, {"cpu": energy_uws})
    for spent_mj in (100, 0, 120, 0, 120):
        time_ms += 1000
        energy_uws += spent_mj * 1000
        yield RailReading(time_ms, {"cpu": energy_uws})


def test_encoders_are_measured_with_their_head_and_their_energy_is_not_the_heads(
    device: Device, pushed: Pushed, monkeypatch: pytest.MonkeyPatch
) -> None:
    rails = readings()
    monkeypatch.setattr(profile_heads, "read_rails", lambda _: next(rails))
    monkeypatch.setattr(profile_heads, "IDLE_BASELINE_S", 0.0)
    measured = measure_heads(
        device, pushed, manifest(), (np.zeros(4, np.float32),), settings=BenchSettings()
    )
    block, whole = measured.heads["block"], measured.heads["output"]
    assert (block.warmup_ms, block.latency_ms) == ([9.0], [3.0, 3.0])
    assert block.encode_ms == {"fp16": [0.75, 0.75], "int8": [0.25, 0.25]}
    assert whole.encode_ms == {}
    # Two inferences each; block's encoders took a quarter of the time between the readings.
    assert block.energy_mj == pytest.approx(20 * 0.75 / 2)
    assert whole.energy_mj == pytest.approx(20 / 2)
