"""A session over adb: arrays there and back, and each way a runner can fail."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mobilesplit.core.errors import DeviceError, RunnerError
from mobilesplit.device.device import Device
from mobilesplit.device.push import REMOTE_FOLDER, Pushed, push_file
from mobilesplit.device.runner import RunnerSession
from mobilesplit.emulator.fault_injection import set_faults
from mobilesplit.emulator.phones import PhoneRecord
from tests.device.conftest import STAND_IN


@pytest.fixture
def pushed(device: Device) -> Pushed:
    device.check_shell(f"mkdir -p {REMOTE_FOLDER}")
    runner = f"{REMOTE_FOLDER}/runner"
    push_file(device, STAND_IN, runner, mode=0o755)
    return Pushed(runner, f"{REMOTE_FOLDER}/program.pte", 0)


@pytest.mark.parametrize("nbytes", [0, 1, 150_000, 2_000_000])
def test_arrays_of_any_size_go_there_and_come_back(
    device: Device, pushed: Pushed, nbytes: int
) -> None:
    array = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)
    with RunnerSession.open(device, pushed) as session:
        for _ in range(3):
            ran = session.run_head("double", (array,))
            np.testing.assert_array_equal(ran.outputs[0], np.concatenate([array, array]))
            assert ran.head_ms == 1.25
            assert ran.round_trip_ms > 0


def test_with_an_encoder_its_outputs_and_its_time_come_back(device: Device, pushed: Pushed) -> None:
    with RunnerSession.open(device, pushed) as session:
        ran = session.run_head("double", (np.arange(4, dtype=np.uint8),), "last")
        np.testing.assert_array_equal(ran.outputs[0], [3])
        assert (ran.head_ms, ran.encode_ms) == (1.25, 0.5)
        assert session.run_head("double", (np.zeros(4, np.uint8),)).encode_ms == 0


def test_a_refused_head_leaves_the_session_usable(device: Device, pushed: Pushed) -> None:
    with RunnerSession.open(device, pushed) as session:
        with pytest.raises(RunnerError, match="no method is called 'refuse'"):
            session.run_head("refuse", (np.zeros(4, np.uint8),))
        assert session.run_head("double", (np.zeros(4, np.uint8),)).outputs[0].shape == (8,)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("babble", "printed no JSON"),
        ("die", "killed by the system"),
        ("lie", "announced 1099511627776 bytes"),
        ("mistake", "answered request 2, not 1"),
    ],
)
def test_a_runner_that_dies_or_lies_is_a_runner_error_and_the_session_is_over(
    device: Device, pushed: Pushed, method: str, says: str
) -> None:
    with (
        RunnerSession.open(device, pushed) as session,
    ):
        with pytest.raises(RunnerError, match=says) as caught:
            session.run_head(method, (np.zeros(4, np.uint8),))
        with pytest.raises(DeviceError):
            session.run_head("double", (np.zeros(4, np.uint8),))
    assert caught.value.exit_code == 4
    assert device.serial in str(caught.value)


GOOD = {"dtype": "uint8", "shape": [4], "nbytes": 4}


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ({"latency_ms": math.nan, "outputs": []}, "latency_ms is nan"),
        ({"latency_ms": -1.0, "outputs": []}, "latency_ms is -1"),
        ({"latency_ms": "1", "outputs": []}, "cannot be read"),
        ({"latency_ms": 1, "outputs": [GOOD | {"dtype": "object"}]}, "cannot be read"),
        ({"latency_ms": 1, "outputs": [GOOD | {"dtype": "S4", "shape": [1]}]}, "cannot be read"),
        ({"latency_ms": 1, "outputs": [GOOD | {"shape": [-2, -2]}]}, "cannot be read"),
        ({"latency_ms": 1, "outputs": [GOOD | {"shape": [1] * 9, "nbytes": 1}]}, "cannot be read"),
        ({"latency_ms": 1, "outputs": [GOOD | {"nbytes": math.inf}]}, "cannot be read"),
        ({"latency_ms": 1, "outputs": [GOOD | {"nbytes": 5}]}, "announced 5 bytes"),
        ({"latency_ms": 1, "outputs": [GOOD] * 1025}, "announced 1025 outputs"),
        (
            {"latency_ms": 1, "outputs": [GOOD | {"shape": [1 << 29], "nbytes": 1 << 29}] * 3},
            "announced 536870912 bytes",
        ),
    ],
)
def test_an_answer_that_cannot_be_is_refused_before_any_of_its_bytes_are_awaited(
    device: Device, pushed: Pushed, claim: dict[str, object], says: str
) -> None:
    said = np.frombuffer(json.dumps(claim).encode(), np.uint8)
    with (
        RunnerSession.open(device, pushed) as session,
        pytest.raises(RunnerError, match=says),
    ):
        session.run_head("claim", (said,))


def test_a_program_that_does_not_load_is_said_in_the_runners_words(
    device: Device, pushed: Pushed
) -> None:
    missing = Pushed(pushed.runner, f"{REMOTE_FOLDER}/missing.pte", 0)
    with pytest.raises(RunnerError, match=r"cannot open missing\.pte"):
        RunnerSession.open(device, missing)


def test_a_runner_that_the_phone_refuses_is_a_runner_error(
    device: Device, pushed: Pushed, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"\x7fELF of another ABI")
    push_file(device, other, pushed.runner, mode=0o755)
    with pytest.raises(DeviceError) as caught:
        RunnerSession.open(device, pushed)
    assert caught.value.exit_code == 4
    assert "126" in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "cause", "exit_code", "says"),
    [
        ({"wrong_abi": True}, "wrong_abi", 126, "Push a runner for the device's ABI"),
        ({"kill_runner_after": 0}, "out_of_memory", 137, "too large for the device's memory"),
    ],
)
def test_a_runner_that_cannot_go_on_names_the_cause_and_the_next_step(
    device: Device,
    pushed: Pushed,
    phone: PhoneRecord,
    tmp_path: Path,
    fault: dict[str, object],
    cause: str,
    exit_code: int,
    says: str,
) -> None:
    set_faults(phone.name, tmp_path / "state", **fault)
    with pytest.raises(RunnerError) as caught, RunnerSession.open(device, pushed) as session:
        session.run_head("double", (np.zeros(4, np.uint8),))
    assert (caught.value.cause, caught.value.command_exit_code) == (cause, exit_code)
    assert str(caught.value).startswith(device.serial) and says in str(caught.value)
