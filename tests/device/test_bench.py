"""The directed benchmark reads what a runner sends, and names one that sends something else."""

from __future__ import annotations

import pytest

from mobilesplit.core.errors import RunnerError
from mobilesplit.device.bench import DirectedBench, Rule
from mobilesplit.device.device import Device
from mobilesplit.device.push import REMOTE_FOLDER, Pushed, push_file
from tests.device.conftest import STAND_IN


@pytest.fixture
def pushed(device: Device) -> Pushed:
    device.check_shell(f"mkdir -p {REMOTE_FOLDER}")
    push_file(device, STAND_IN, f"{REMOTE_FOLDER}/runner", mode=0o755)
    return Pushed(f"{REMOTE_FOLDER}/runner", f"{REMOTE_FOLDER}/program.pte", 0)


def test_a_series_is_loaded_run_and_unloaded(device: Device, pushed: Pushed) -> None:
    with DirectedBench(device, pushed, inputs=["/data/local/tmp/x"]) as bench:
        assert bench.started["runner"] == "stand-in"
        loaded = bench.load("chain", ["a", "b+e"])
        assert [part.method for part in loaded.parts] == ["a", "b"]
        assert [part.peak_rss_bytes for part in loaded.parts] == [1000, 2000]
        runs = bench.run("chain", "measure", Rule(3))
        assert runs.latency_ms == [[3.0, 3.0]] * 3
        assert runs.encode_ms == {"e": [0.5] * 3}
        assert (len(runs.at_ms), runs.elapsed_ms) == (3, 18.0)
        bench.unload("chain")
        bench.finish()


@pytest.mark.parametrize("series", ["lacking", "wrong"])
def test_events_of_another_kind_are_a_runner_error_with_the_next_step(
    device: Device, pushed: Pushed, series: str
) -> None:
    with (
        DirectedBench(device, pushed, inputs=[]) as bench,
        pytest.raises(RunnerError, match=r"cannot be read.*leave out --runner"),
    ):
        bench.load(series, [series])


def test_a_runner_that_dies_in_mid_run_is_a_runner_error(device: Device, pushed: Pushed) -> None:
    with DirectedBench(device, pushed, inputs=[]) as bench:
        bench.load("a", ["a"])
        with pytest.raises(RunnerError, match="exited 9"):
            bench.run("a", "die", Rule(1))
