"""executor_runner's times are read from its log, and its failures say what they mean."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobilesplit.core.errors import RunnerError
from mobilesplit.device.connect import connect
from mobilesplit.device.device import Device, ShellResult
from mobilesplit.device.facts import read_facts
from mobilesplit.device.profiling.heads import Head, heads_of
from mobilesplit.device.profiling.journal import Header, Journal
from mobilesplit.device.profiling.measure import Subject
from mobilesplit.device.profiling.plan import plan_heads
from mobilesplit.device.profiling.settings import ProfileSettings
from mobilesplit.device.profiling.stock import measure_with_executor_runner
from mobilesplit.device.push import Pushed
from mobilesplit.device.stock_runner import StockMeasurement, measure_with_stock_runner
from mobilesplit.emulator.device_description import load_description
from mobilesplit.emulator.fault_injection import clear_faults, set_faults
from mobilesplit.emulator.phones import start_phone, stop_phone
from tests.device.profiling.bundles import chain_of

STAND_IN = Path(__file__).parent / "stand_in_executor_runner.py"
NAME = "stock-runner-tests"
FOLDER = "/data/local/tmp/mobilesplit"


@pytest.fixture(scope="module")
def state_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phone") / "state"


@pytest.fixture(scope="module")
def phone(state_root: Path) -> Iterator[Device]:
    """A virtual phone with the stand-in, a program and two inputs on it."""
    folder = state_root.parent
    digest = hashlib.sha256(STAND_IN.read_bytes()).hexdigest()
    record = start_phone(
        load_description("flagship-2024"),
        name=NAME,
        allowed_programs={digest: [sys.executable, str(STAND_IN)]},
        state_root=state_root,
        exit_with_parent=True,
    )
    try:
        with connect(record.serial, key_folder=folder / "keys") as device:
            device.check_shell(f"mkdir -p {FOLDER}")
            device.push(STAND_IN, f"{FOLDER}/executor_runner", mode=0o755)
            for name in ("heads.pte", "x0.bin", "x1.bin"):
                (folder / name).write_bytes(b"\0")
                device.push(folder / name, f"{FOLDER}/{name}", mode=0o644)
            yield device
    finally:
        stop_phone(record.name, state_root)


def measure(
    device: Device, method: str, *, program: str = "heads.pte", inputs: tuple[str, ...] = ("x0",)
) -> StockMeasurement:
    return measure_with_stock_runner(
        device,
        f"{FOLDER}/executor_runner",
        f"{FOLDER}/{program}",
        method,
        [f"{FOLDER}/{name}.bin" for name in inputs],
        warmup_runs=2,
        runs=3,
        threads=2,
        slowest_run_s=1.0,
    )


def profile(device: Device, journal_path: Path, *, runs: int) -> Head:
    """The only head of a bundle, measured in one session if that is not too long."""
    plan = plan_heads(chain_of(1), one_by_one=True)
    settings = ProfileSettings(min_runs=runs, max_runs=runs, sessions=1, warmup_runs=2)
    pushed = Pushed(f"{FOLDER}/executor_runner", f"{FOLDER}/heads.pte", sent_bytes=0)
    subject = Subject(device, pushed, (f"{FOLDER}/x0.bin",), plan, settings)
    header = Header(
        program_sha256="ab" * 32,
        cuts=("output",),
        device=read_facts(device),
        settings=settings,
        inputs_sha256="cd" * 32,
    )
    with Journal.start(journal_path, header) as journal:
        measure_with_executor_runner(subject, journal)
        return heads_of(plan, journal.records)["output"]


def test_the_first_run_and_the_warm_up_are_no_samples(phone: Device) -> None:
    assert measure(phone, "head_a") == StockMeasurement(
        latency_ms=(3.25, 4.25, 5.25), first_ms=100.0, load_ms=12.5
    )


def test_several_inputs_are_given_by_name_in_their_folder(phone: Device) -> None:
    assert len(measure(phone, "head_a", inputs=("x0", "x1")).latency_ms) == 3


def test_a_virtual_phones_heads_are_slowed_by_what_it_declares(
    phone: Device, tmp_path: Path
) -> None:
    head = profile(phone, tmp_path / "journal.jsonl", runs=3)
    declared = load_description("flagship-2024").inference_slowdown
    assert declared > 1
    assert head.samples_ms == pytest.approx([declared * ms for ms in (3.25, 4.25, 5.25)])
    assert head.first_ms == pytest.approx(declared * 100)
    assert head.load_ms == 12.5


def test_a_process_runs_so_often_and_so_long_as_the_heads_first_run_tells(
    phone: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, float]] = []
    shell = phone.shell

    def noting(command: str, *, timeout_s: float = 10.0) -> ShellResult:
        count = re.search(r"--num_executions=(\d+)", command)
        if count:
            asked.append((int(count[1]), timeout_s))
        return shell(command, timeout_s=timeout_s)

    monkeypatch.setattr(phone, "shell", noting)
    head = profile(phone, tmp_path / "journal.jsonl", runs=250)
    assert len(head.samples_ms) == 250
    run_s = 20 * 0.1 * load_description("flagship-2024").inference_slowdown
    assert [count for count, _ in asked] == [3 + 10, 3 + 100, 3 + 100, 3 + 40]
    assert [limit_s for _, limit_s in asked] == pytest.approx(
        [60 + 13 * 60, *(60 + count * run_s for count, _ in asked[1:])]
    )


@pytest.mark.parametrize(
    ("method", "exit_code", "cause", "message"),
    [
        (
            "too_large",
            134,
            "out_of_memory",
            r"fixed pools \(4 MB .* 1 MB .*leave out --runner-kind",
        ),
        ("no_backend", 134, None, r"without the backend .*EXECUTORCH_BUILD_XNNPACK=ON"),
        ("no_kernel", 134, "newer_program", r"without a kernel .*quantized kernels"),
        ("strange", 134, None, r"executor_runner failed\..*something else"),
        ("killed", 137, "out_of_memory", r"executor_runner failed\..*close apps"),
        ("silent", 0, None, r"times of 0 of 6 runs\..*PAL_DEFAULT=posix"),
        ("stops_early", 0, None, r"times of 5 of 6 runs"),
    ],
)
def test_a_failure_says_what_it_means_and_what_to_do(
    phone: Device, method: str, exit_code: int, cause: str | None, message: str
) -> None:
    with pytest.raises(RunnerError) as failure:
        measure(phone, method)
    error = failure.value
    assert re.search(message, str(error)), str(error)
    assert error.serial == phone.serial
    assert error.command is not None and "executor_runner" in error.command
    assert (error.command_exit_code, error.cause) == (exit_code, cause)


def test_a_program_that_it_cannot_read_is_told_from_other_failures(phone: Device) -> None:
    with pytest.raises(RunnerError, match="damaged, or of a newer ExecuTorch") as failure:
        measure(phone, "head_a", program="nowhere.pte")
    assert failure.value.cause == "bad_program"


def test_one_that_is_for_another_abi_is_told_as_every_other_runner_is(
    phone: Device, state_root: Path
) -> None:
    set_faults(NAME, state_root, wrong_abi=True)
    try:
        with pytest.raises(RunnerError, match="Push a runner for the device's ABI") as failure:
            measure(phone, "head_a")
    finally:
        clear_faults(NAME, state_root)
    assert (failure.value.cause, failure.value.command_exit_code) == ("wrong_abi", 126)


def test_it_takes_the_shells_place_so_that_the_phone_ends_it_with_the_connection(
    phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    shell = phone.shell
    monkeypatch.setattr(
        phone, "shell", lambda command, **words: commands.append(command) or shell(command, **words)
    )
    measure(phone, "head_a")
    (command,) = commands
    assert command.startswith(f"cd {FOLDER} && exec {FOLDER}/executor_runner ")


def test_an_older_one_that_lacks_a_flag_is_named_with_the_flag(
    phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = phone.shell
    monkeypatch.setattr(
        phone,
        "shell",
        lambda command, **words: shell(command.replace("cpu_threads", "threads"), **words),
    )
    with pytest.raises(RunnerError, match=r"does not know --threads.*1\.3\.1"):
        measure(phone, "head_a")
