"""What `bench` promises of series, listed or directed, by the C++ and the Python runner alike."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mobilesplit.device.runner_build import Runner, build_host_runner
from tests.android_harness.test_runner_contract import LIMIT_S, events, run

if TYPE_CHECKING:
    from tests.android_harness.conftest import TinyProgram

SERIES = "pair+int8_pair+fp16_pair:finish+fp16_whole"


def kinds(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


def direct(
    runner: Runner, program: TinyProgram, *lines: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    words = ["bench", "--program", program.path, "--directed", "--input", program.x_path]
    return run(runner, *words, stdin="".join(f"{line}\n" for line in lines).encode(), env=env)


def test_each_series_is_loaded_run_by_count_and_unloaded(
    runner: Runner, program: TinyProgram, tmp_path: Path
) -> None:
    counter = tmp_path / "counter"
    done = run(
        runner, "bench", "--program", program.path, "--methods", f"{SERIES},whole",
        "--input", program.x_path, "--warmup-runs", 2, "--min-runs", 4, "--min-s", 0,
        env={"MOBILESPLIT_SLOWDOWN": "3", "MOBILESPLIT_RUN_COUNTER": str(counter)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    started, loaded, *rest = events(done)
    assert (started["event"], started["threads"], started["slowdown"]) == ("started", 1, 3)
    assert loaded["event"] == "loaded"
    for index, methods in enumerate((["pair", "finish"], ["whole"])):
        own = [event for event in rest if event["id"] == str(index)]
        assert kinds(own) == [
            *["part"] * len(methods), "ready", *["sample"] * 2, "ran", *["sample"] * 4, "ran",
            "unloaded",
        ]  # fmt: skip
        parts = own[: len(methods)]
        assert [part["method"] for part in parts] == methods
        assert all(part["first_ms"] > 0 and part["peak_rss_bytes"] > 1e6 for part in parts)
        samples = [event for event in own if event["event"] == "sample"]
        assert [(s["phase"], s["index"]) for s in samples] == [
            ("warmup", 0), ("warmup", 1),
            ("measure", 0), ("measure", 1), ("measure", 2), ("measure", 3),
        ]  # fmt: skip
        encoders = {"int8_pair", "fp16_pair", "fp16_whole"} if len(methods) == 2 else set()
        for sample in samples:
            assert len(sample["latency_ms"]) == len(methods)
            scaled = [3 * host_ms for host_ms in sample["host_latency_ms"]]
            assert sample["latency_ms"] == pytest.approx(scaled)
            encode_ms = sample.get("encode_ms", {})
            assert set(encode_ms) == encoders and all(ms > 0 for ms in encode_ms.values())
        ran = [event for event in own if event["event"] == "ran"]
        assert [(event["phase"], event["runs"]) for event in ran] == [("warmup", 2), ("measure", 4)]
        assert ran[-1]["peak_rss_bytes"] > 1e6
    # A series counts once a run, whatever its length: the first, two warm-ups, four measured.
    assert counter.stat().st_size == 2 * (1 + 2 + 4)


def test_a_slow_down_in_a_file_holds_from_the_next_inference_on(
    runner: Runner, program: TinyProgram, tmp_path: Path
) -> None:
    slowdown = tmp_path / "slowdown"
    slowdown.write_text("5.0\n")
    env = {"MOBILESPLIT_SLOWDOWN": "1", "MOBILESPLIT_SLOWDOWN_FILE": str(slowdown)}
    done = direct(runner, program, "load a whole", "run a measure 2 0 9", "quit", env=env)
    assert done.returncode == 0, done.stderr
    samples = [event for event in events(done) if event["event"] == "sample"]
    assert len(samples) == 2
    for sample in samples:
        assert sample["latency_ms"] == pytest.approx([5 * ms for ms in sample["host_latency_ms"]])


def test_on_a_slow_phone_a_run_takes_as_long_as_its_times_say(
    cpp_runner: Runner, program: TinyProgram
) -> None:
    slow = {"MOBILESPLIT_SLOWDOWN": "200"}
    done = direct(cpp_runner, program, f"load a {SERIES}", "run a p 5 0 20", env=slow)
    samples = [event for event in events(done) if event["event"] == "sample"]
    ended_ms = [sample["at_ms"] for sample in samples]
    for before_ms, sample in zip(ended_ms, samples[1:], strict=False):
        took_ms = sum(sample["latency_ms"]) + sum(sample["encode_ms"].values())
        assert sample["at_ms"] - before_ms > 0.99 * took_ms


def test_bench_goes_on_until_the_least_time_and_not_past_the_most(
    cpp_runner: Runner, program: TinyProgram
) -> None:
    words = ["bench", "--program", program.path, "--methods", "whole", "--input", program.x_path]
    slow = {"MOBILESPLIT_SLOWDOWN": "200"}
    longer = run(cpp_runner, *words, "--min-runs", 1, "--min-s", 0.05, env=slow)
    assert events(longer)[-2]["runs"] > 1
    cut_short = run(cpp_runner, *words, "--min-runs", 10**6, "--max-s", 0.05, env=slow)
    assert 0 < events(cut_short)[-2]["runs"] < 10**6


@pytest.mark.parametrize(
    ("methods", "inputs", "message"),
    [
        ("whole,nothing", ["x"], "no method is called 'nothing'; known: finish, fp16_pair, "),
        ("whole,pair+nothing", ["x"], "no method is called 'nothing'; known: finish, fp16_pair, "),
        ("pair+int8_whole", ["x"], "method 'int8_whole' does not take what 'pair' returns"),
        ("whole:finish", ["x"], "method 'finish' does not take what 'whole' returns"),
        ("pair:nothing", ["x"], "no method is called 'nothing'"),
        ("pair:finish+fp16_pair", ["x"], "'fp16_pair' does not take what 'finish' returns"),
        ("pair:pair", ["x"], "method 'pair' is twice in one series"),
        ("sum", ["x"], "method 'sum' takes 2 inputs, 1 were given"),
        ("whole", ["nowhere"], "cannot open"),
        ("sum", ["x", "x"], "has 768 bytes, the input takes 24"),
    ],
)
def test_bench_says_what_is_wrong_with_its_series_and_inputs(
    cpp_runner: Runner, program: TinyProgram, methods: str, inputs: list[str], message: str
) -> None:
    given = [
        word
        for name in inputs
        for word in ("--input", program.x_path if name == "x" else program.path / name)
    ]
    done = run(cpp_runner, "bench", "--program", program.path, "--methods", methods, *given)
    assert done.returncode == 1
    assert message in events(done)[-1]["message"]
    assert "sample" not in kinds(events(done))


def test_a_method_gets_what_the_one_before_returned(
    runner: Runner, program: TinyProgram, tmp_path: Path
) -> None:
    quiet = tmp_path / "zeros.bin"
    quiet.write_bytes(np.zeros_like(program.x).tobytes())
    assert program.expected["pair"][1].max() >= 400  # too much for `lookup`
    for path, exit_code in ((quiet, 0), (program.x_path, 1)):
        done = run(
            runner, "bench", "--program", program.path, "--methods", "pair:lookup",
            "--input", path, "--min-runs", 1, "--min-s", 0,
        )  # fmt: skip
        assert done.returncode == exit_code, done.stdout
    assert "method 'lookup' failed" in events(done)[-1]["message"]


def test_a_directed_bench_does_what_it_is_told_in_order(
    runner: Runner, program: TinyProgram
) -> None:
    done = direct(
        runner, program,
        "stop", "load chain pair:finish", "load head pair+fp16_pair",
        "run chain one 2 0 20", "run head two 3 0 20", "run chain three 1 0 20",
        "unload chain", "run head four 1 0 20", "load chain pair:finish", "quit", "not read",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, _, *said = events(done)
    assert [event["id"] for event in said if event["event"] == "ready"] == [
        "chain",
        "head",
        "chain",
    ]
    ran = [(e["id"], e["phase"], e["runs"]) for e in said if e["event"] == "ran"]
    assert ran == [
        ("chain", "one", 2), ("head", "two", 3), ("chain", "three", 1), ("head", "four", 1),
    ]  # fmt: skip
    assert all(event["elapsed_ms"] > 0 for event in said if event["event"] == "ran")
    ends_ms = [event["at_ms"] for event in said if event["event"] == "sample"]
    assert ends_ms == sorted(ends_ms) and ends_ms[0] > 0


def test_the_end_of_input_ends_a_directed_bench_after_what_was_asked(
    runner: Runner, program: TinyProgram
) -> None:
    done = direct(runner, program, "load a whole", "run a p 3 0 20")
    assert done.returncode == 0
    assert events(done)[-1]["runs"] == 3


def test_stop_ends_a_phase_between_two_runs(runner: Runner, program: TinyProgram) -> None:
    words = ["bench", "--program", program.path, "--directed", "--input", program.x_path]
    with subprocess.Popen(
        [*runner.argv, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout

        def say(line: bytes) -> None:
            process.stdin.write(line)
            process.stdin.flush()

        def until(kind: str) -> dict[str, Any]:
            while (event := json.loads(process.stdout.readline()))["event"] != kind:
                pass
            return event

        say(b"load a whole\nrun a long 100000000 0 3600\n")
        until("sample")
        say(b"st")  # a line may come in pieces
        until("sample")
        say(b"op\nrun a short 2 0 20\n")
        assert until("ran")["runs"] < 100_000_000
        assert until("ran")["runs"] == 2
        say(b"quit\n")
        assert process.wait(LIMIT_S) == 0


@pytest.mark.parametrize(
    ("lines", "exit_code", "message"),
    [
        (["fly"], 1, "not a direction: 'fly'"),
        (["load a"], 1, "not a direction: 'load a'"),
        (["load a whole now"], 1, "not a direction"),
        (["load a/b whole"], 1, "ID is a word of at most 64"),
        (["load a pair::finish"], 2, "names separated by"),
        (["load a sum"], 1, "method 'sum' takes 2 inputs, 1 were given"),
        (["run a p 1 0 1"], 1, "no series 'a' is loaded"),
        (["unload a"], 1, "no series 'a' is loaded"),
        (["load a whole", "load a whole"], 1, "a series 'a' is loaded already"),
        (["load a whole", "run a p many 0 1"], 2, "many"),
        (["load a whole", "run a p 1 0"], 1, "not a direction"),
    ],
)
def test_a_wrong_direction_ends_the_runner_with_its_reason(
    cpp_runner: Runner, program: TinyProgram, lines: list[str], exit_code: int, message: str
) -> None:
    done = direct(cpp_runner, program, *lines)
    assert done.returncode == exit_code
    assert message in events(done)[-1]["message"]


@pytest.mark.parametrize(
    ("lines", "exit_code", "message"),
    [
        (["load a pair:finish", "load b whole:finish"], 1, "does not take what 'whole' returns"),
        (["load a whole", "run a p 1 0"], 1, "not a direction"),
        (["load a whole", "run a p many 0 1"], 2, "many"),
    ],
)
def test_a_wrong_direction_ends_the_python_runner_alike(
    program: TinyProgram, lines: list[str], exit_code: int, message: str
) -> None:
    test_a_wrong_direction_ends_the_runner_with_its_reason(
        build_host_runner(prefer="python"), program, lines, exit_code, message
    )


def test_a_core_mask_holds_the_runner_to_those_cores_that_exist(
    runner: Runner, program: TinyProgram
) -> None:
    core = max(os.sched_getaffinity(0))
    mask = (1 << core) | (1 << 900)
    words = ["--program", program.path, "--threads", 2, "--core-mask", f"{mask:x}"]
    done = run(
        runner, "bench", *words, "--methods", "whole", "--input", program.x_path,
        "--min-runs", 1, "--min-s", 0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert events(done)[0]["core_mask"] == f"{1 << core:x}"
    assert events(done)[0]["threads"] == 2
    assert events(run(runner, "session", *words))[0]["core_mask"] == f"{1 << core:x}"


def test_a_core_mask_without_a_core_that_exists_is_refused(
    runner: Runner, program: TinyProgram
) -> None:
    words = ["--program", program.path, "--core-mask", f"{1 << 900:x}"]
    done = run(runner, "session", *words)
    assert done.returncode == 2
    assert "no core of the mask" in events(done)[-1]["message"]
