"""What a runner promises, asserted of the C++ and the Python one alike."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mobilesplit
from mobilesplit.device.runner_build import Runner, build_host_runner
from mobilesplit.wire.codecs import decode, from_device
from tests.android_harness.conftest import BOUNDARIES

if TYPE_CHECKING:
    from tests.android_harness.conftest import TinyProgram

LIMIT_S = 60
METHODS = [
    "finish", "fp16_pair", "fp16_whole", "int8_pair", "int8_whole", "lookup",
    "pair", "sum", "whole",
]  # fmt: skip


def run(
    runner: Runner, *words: object, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [*runner.argv, *map(str, words)]
    return subprocess.run(
        command, input=stdin, env=env, capture_output=True, timeout=LIMIT_S, check=False
    )


def events(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def request(request_id: int, method: str, *arrays: np.ndarray) -> bytes:
    sizes = " ".join(str(a.nbytes) for a in arrays)
    return f"run {request_id} {method} {sizes}\n".encode() + b"".join(a.tobytes() for a in arrays)


def answers(stdout: bytes) -> list[tuple[dict[str, Any], list[np.ndarray]]]:
    """A session's lines, each with the arrays that follow it; nothing may be left over."""
    found = []
    while stdout:
        line, _, stdout = stdout.partition(b"\n")
        head = json.loads(line)
        arrays = []
        for spec in head.get("outputs", []):
            data, stdout = stdout[: spec["nbytes"]], stdout[spec["nbytes"] :]
            arrays.append(np.frombuffer(data, spec["dtype"]).reshape(spec["shape"]))
        found.append((head, arrays))
    return found


@pytest.fixture(scope="module")
def conversation(
    runner: Runner, program: TinyProgram
) -> dict[int, tuple[dict[str, Any], list[np.ndarray]]]:
    """One session with right and wrong requests in turn (it must survive each wrong one)."""
    x = program.x
    stdin = b"".join(
        [
            request(1, "whole", x),
            request(2, "pair", x),
            request(3, "whole", x[:, :2]),
            request(4, "nothing", x),
            request(5, "whole", x, x),
            request(6, "sum", np.ones((2, 3), np.float32), np.arange(3, dtype=np.float32)),
            request(7, "whole", -x),
            request(8, "whole", x),
            request(9, "whole+fp16_whole", x),
            request(10, "pair+int8_pair", x),
            request(11, "whole+int8_pair", x),
            request(12, "whole+nothing", x),
            request(13, "pair+fp16_pair+int8_pair", x),
            request(14, "pair++", x),
            request(15, "pair", x),
            b"quit\n",
            b"not read any more",
        ]
    )
    done = run(runner, "session", "--program", program.path, stdin=stdin)
    assert done.returncode == 0, done.stderr
    (ready, _), *found = answers(done.stdout)
    assert ready.pop("load_ms") >= 0
    assert ready == {
        "event": "ready",
        "runner": runner.kind,
        "version": mobilesplit.__version__,
        "threads": 1,
        "slowdown": 1,
    }
    return {head["id"]: (head, arrays) for head, arrays in found}


def test_version_names_runner_and_executorch(runner: Runner) -> None:
    (event,) = events(run(runner, "--version"))
    assert event.pop("executorch").startswith("1.5.")
    assert event == {"event": "version", "runner": runner.kind, "version": mobilesplit.__version__}


def test_info_lists_methods_with_their_tensors(runner: Runner, program: TinyProgram) -> None:
    (event,) = events(run(runner, "info", "--program", program.path))
    methods = {method["name"]: method for method in event["methods"]}
    assert list(methods) == METHODS
    assert methods["whole"]["inputs"] == [
        {"dtype": "float32", "shape": [1, 3, 8, 8], "nbytes": 768}
    ]
    assert methods["pair"]["outputs"] == [
        {"dtype": "float32", "shape": [1, 8, 8, 8], "nbytes": 2048},
        {"dtype": "int32", "shape": [1, 8], "nbytes": 32},
    ]


def test_a_session_gives_the_numbers_of_torch(
    conversation: dict[int, Any], program: TinyProgram
) -> None:
    head, (output,) = conversation[1]
    assert head["latency_ms"] > 0 and "host_latency_ms" not in head
    np.testing.assert_allclose(output, program.expected["whole"][0], atol=1e-4)


def test_several_outputs_arrive_in_order_with_their_dtypes(
    conversation: dict[int, Any], program: TinyProgram
) -> None:
    _, (features, peaks) = conversation[2]
    np.testing.assert_allclose(features, program.expected["pair"][0], atol=1e-4)
    assert peaks.dtype == np.int32
    np.testing.assert_allclose(peaks, program.expected["pair"][1], atol=1)


def test_several_inputs_are_read_in_order(conversation: dict[int, Any]) -> None:
    np.testing.assert_array_equal(conversation[6][1][0], [[1, 2, 3], [1, 2, 3]])


def test_wrong_requests_are_answered_and_the_session_goes_on(
    conversation: dict[int, Any], program: TinyProgram
) -> None:
    errors = {key: head["error"] for key, (head, _) in conversation.items() if "error" in head}
    assert errors == {
        3: "input 0 of method 'whole' takes 768 bytes, not 512",
        4: f"no method is called 'nothing'; known: {', '.join(METHODS)}",
        5: "method 'whole' takes 1 inputs, not 2",
        11: "method 'int8_pair' does not take what 'whole' returns",
        12: f"no method is called 'nothing'; known: {', '.join(METHODS)}",
        13: "a request takes one encoder, not 2",
        14: "a method with encoders takes names separated by '+', not 'pair++'",
    }
    assert not np.allclose(conversation[7][1][0], conversation[8][1][0])
    np.testing.assert_array_equal(conversation[8][1][0], conversation[1][1][0])


def test_with_an_encoder_the_codecs_blobs_come_instead_of_the_boundary(
    conversation: dict[int, Any],
) -> None:
    for key, plain, codec, method in ((9, 1, "fp16", "whole"), (10, 15, "int8", "pair")):
        head, outputs = conversation[key]
        assert head["latency_ms"] > 0 and head["encode_ms"] > 0
        boundary = BOUNDARIES[method]
        decoded = decode(codec, from_device(codec, outputs, boundary), boundary)
        for array, tensor in zip(conversation[plain][1], decoded, strict=True):
            np.testing.assert_allclose(tensor, array, atol=np.ptp(array) / 255)
    assert "encode_ms" not in conversation[1][0]


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        pytest.param(b"hello\n", "not a request: 'hello'", id="garbage"),
        pytest.param(b"run 1 whole 768\n" + b"\0" * 100, "668 more bytes", id="eof in a request"),
        pytest.param(b"run 1 whole", "middle of a line", id="eof in a line"),
        pytest.param(b"run 1 whole 1073741825\n", "limit of 1 GiB", id="absurd size"),
        pytest.param(b"x" * 5000 + b"\n", "longer than 4096", id="long line"),
    ],
)
def test_a_session_whose_framing_is_lost_ends_with_exit_code_1(
    cpp_runner: Runner, program: TinyProgram, stdin: bytes, message: str
) -> None:
    done = run(cpp_runner, "session", "--program", program.path, stdin=stdin)
    assert_lost(done, message)


def test_the_python_session_ends_alike(program: TinyProgram) -> None:
    python = build_host_runner(prefer="python")
    stdin = b"run 1 whole 768\n" + b"\0" * 100
    done = run(python, "session", "--program", program.path, stdin=stdin)
    assert_lost(done, "668 more bytes")


def assert_lost(done: subprocess.CompletedProcess[bytes], message: str) -> None:
    assert done.returncode == 1
    error = events(done)[-1]
    assert error["event"] == "error" and message in error["message"]
    assert message in done.stderr.decode()


def test_a_session_answers_each_request_before_the_next_is_sent(
    cpp_runner: Runner, program: TinyProgram
) -> None:
    with subprocess.Popen(
        [*cpp_runner.argv, "session", "--program", str(program.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stdout
        assert json.loads(process.stdout.readline())["event"] == "ready"
        for request_id in range(3):
            process.stdin.write(request(request_id, "whole", program.x))
            process.stdin.flush()
            head = json.loads(process.stdout.readline())
            assert head["id"] == request_id
            process.stdout.read(head["outputs"][0]["nbytes"])
        process.stdin.close()
        assert process.wait(LIMIT_S) == 0


@pytest.mark.parametrize("damage", ["missing", "random", "truncated", "too new"])
def test_a_program_that_does_not_load_is_a_clear_error(
    runner: Runner, program: TinyProgram, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "bad.pte"
    good = program.path.read_bytes()
    if damage == "random":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif damage == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "too new":
        path.write_bytes(good.replace(b"ET12", b"ET99", 1))
    done = run(runner, "info", "--program", path)
    assert done.returncode == 1
    (error,) = events(done)
    expected = "cannot open" if damage == "missing" else "not a program that ExecuTorch 1.5"
    assert expected in error["message"] and str(path) in error["message"]
    causes = {"random": "bad_program", "truncated": "bad_program", "too new": "program_too_new"}
    assert error.get("cause") == causes.get(damage)
    assert error["message"] in done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["info"],
        ["bench", "--program", "p", "--methods", "a,,b"],
        ["bench", "--program", "p", "--methods", "a+,b"],
        ["bench", "--program", "p", "--methods", "a::b"],
        ["bench", "--program", "p"],
        ["bench", "--program", "p", "--methods", "a", "--directed"],
        ["bench", "--program", "p", "--methods", "a", "--core-mask", "cores"],
        ["bench", "--program", "p", "--methods", "a", "--min-s", "-1"],
        ["session", "--program", "p", "--threads", "0"],
        ["session", "--program", "p", "--input", "x"],
    ],
)
def test_bad_usage_is_exit_code_2(runner: Runner, words: list[str]) -> None:
    done = run(runner, *words)
    assert done.returncode == 2
    assert (events(done)[-1]["event"], events(done)[-1]["cause"]) == ("error", "usage")
    assert b"usage: mobilesplit-runner" in done.stderr


def test_a_slowdown_below_one_is_refused(cpp_runner: Runner, program: TinyProgram) -> None:
    done = run(
        cpp_runner, "session", "--program", program.path, env={"MOBILESPLIT_SLOWDOWN": "0.5"}
    )
    assert done.returncode == 2
    assert "0.5" in events(done)[-1]["message"]
