"""A bundle's TorchScript heads run in the TorchScript runner, by the contract of the other one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mobilesplit.core.manifest import Bundle
from mobilesplit.device.runner_build import BuildFailed, Runner
from mobilesplit.device.runner_build.toolchain import find_compiler
from mobilesplit.device.runner_build.torchscript import (
    build_torchscript_runner,
    methods_text,
    write_script_program,
)
from mobilesplit.export.bundle import load_bundle
from mobilesplit.export.export import export_model
from mobilesplit.export.settings import ExportSettings
from tests.android_harness.test_runner_contract import answers, events, request, run
from tests.export.networks import skip_net

OUTPUT = "01"
"""The method of the last head."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("torchscript")
    outcome = export_model(
        skip_net(),
        out=out / "bundle",
        settings=ExportSettings(format="torchscript", backend="portable", codecs=()),
        cache_root=out / "cache",
    )
    return load_bundle(outcome.bundle.root)


@pytest.fixture(scope="module")
def golden_input(bundle: Bundle) -> np.ndarray:
    (array,) = load_file(bundle.path(bundle.manifest.golden_input)).values()
    return array


@pytest.fixture
def program(bundle: Bundle, tmp_path: Path) -> Path:
    write_script_program(bundle, tmp_path / "program")
    return tmp_path / "program"


@pytest.fixture(scope="module")
def runner() -> Runner:
    """From the user's cache: torch's headers take long to compile."""
    try:
        find_compiler()
    except BuildFailed as error:
        pytest.skip(str(error))
    return build_torchscript_runner()


def test_every_head_is_a_method_that_takes_the_input_and_gives_its_boundary(
    runner: Runner, program: Path, bundle: Bundle
) -> None:
    (info,) = events(run(runner, "info", "--program", program))
    methods = {method["name"]: method for method in info["methods"]}
    heads = {entry.method: entry.cut for entry in bundle.manifest.cuts[1:]}
    assert set(methods) == set(heads)
    for name, cut in heads.items():
        for side, specs in (("inputs", bundle.manifest.cuts[0].cut.boundary),
                            ("outputs", cut.boundary)):  # fmt: skip
            assert methods[name][side] == [
                {"dtype": spec.dtype, "shape": list(spec.shape), "nbytes": spec.nbytes}
                for spec in specs
            ]


def test_a_session_gives_the_golden_outputs_and_goes_on_after_wrong_requests(
    runner: Runner, program: Path, bundle: Bundle, golden_input: np.ndarray
) -> None:
    last = bundle.manifest.cuts[-1].method
    assert last is not None
    stdin = b"".join(
        [
            request(1, "nothing", golden_input),
            request(2, last, golden_input[..., :-1]),
            request(3, last, golden_input),
            b"quit\n",
        ]
    )
    done = run(runner, "session", "--program", program, stdin=stdin)
    assert done.returncode == 0, done.stderr
    (ready, _), *found = answers(done.stdout)
    assert (ready["event"], ready["runner"]) == ("ready", "torchscript")
    assert "no method is called 'nothing'" in found[0][0]["error"]
    assert f"takes {golden_input.nbytes} bytes" in found[1][0]["error"]
    golden = load_file(bundle.path(bundle.manifest.golden_output)).values()
    for array, expected in zip(found[2][1], golden, strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-4)


def test_bench_counts_every_inference_and_scales_by_the_slowdown(
    runner: Runner, program: Path, bundle: Bundle, golden_input: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "x.bin").write_bytes(golden_input.tobytes())
    counter = tmp_path / "counter"
    method = bundle.manifest.cuts[-1].method
    done = run(
        runner, "bench", "--program", program, "--methods", method, "--input", tmp_path / "x.bin",
        "--warmup-runs", 2, "--min-runs", 4, "--min-s", 0,
        env={"MOBILESPLIT_SLOWDOWN": "3", "MOBILESPLIT_RUN_COUNTER": str(counter)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    samples = [event for event in events(done) if event["event"] == "sample"]
    assert [sample["phase"] for sample in samples] == ["warmup"] * 2 + ["measure"] * 4
    assert counter.stat().st_size == 1 + 2 + 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no list", "cannot open the program"),
        ("no file", "is not a program that torch"),
        ("other outputs", "returned other tensors than methods.txt says"),
        ("other type", "no element type is called 'bfloat16'"),
    ],
)
def test_a_folder_that_is_no_program_is_a_clear_error(
    runner: Runner, program: Path, golden_input: np.ndarray, tmp_path: Path, damage: str,
    message: str,
) -> None:  # fmt: skip
    listing = program / "methods.txt"
    method = listing.read_text().split()[0]
    if damage == "no list":
        listing.unlink()
    elif damage == "no file":
        (program / f"{method}.pt").unlink()
    elif damage == "other outputs":
        listing.write_text(
            listing.read_text().replace(f"{method} out float32", f"{method} out int32")
        )
    else:
        listing.write_text(listing.read_text().replace("float32", "bfloat16", 1))
    (tmp_path / "x.bin").write_bytes(golden_input.tobytes())
    words = ["bench", "--program", program, "--methods", method, "--input", tmp_path / "x.bin"]
    done = run(runner, *words)
    assert done.returncode == 1
    assert message in events(done)[-1]["message"]


def test_a_trace_of_operators_is_refused_as_executorchs(runner: Runner, program: Path) -> None:
    words = ["bench", "--program", program, "--methods", OUTPUT, "--etdump", program / "trace"]
    done = run(runner, *words)
    assert done.returncode == 2
    assert "--etdump is ExecuTorch's" in events(done)[-1]["message"]


def test_the_list_of_methods_has_a_line_for_each_tensor(bundle: Bundle) -> None:
    lines = methods_text(bundle.manifest).splitlines()
    first = bundle.manifest.cuts[1]
    spec = first.cut.boundary[0]
    expected = f"{first.method} out {spec.dtype} {' '.join(map(str, spec.shape))}"
    assert expected in lines
    assert len(lines) == sum(1 + len(entry.cut.boundary) for entry in bundle.manifest.cuts[1:])


def test_without_the_sources_of_torch_the_reason_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "mobilesplit.device.runner_build.torchscript.package_folder", lambda *_: None
    )
    with pytest.raises(BuildFailed, match=r"no libtorch_cpu\.so"):
        build_torchscript_runner(cache_root=tmp_path)
