"""`mobilesplit export` as its users see it, and what they see when a bundle is not what it was."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mobilesplit.core.manifest import ImageInput
from mobilesplit.export.bundle import load_bundle
from mobilesplit.wire.images import normalise, to_pixels
from tests.cli import tiny_model
from tests.cli.conftest import TINY, Command, Done, Home, interrupt
from tests.cli.refused_models import REFUSED
from tests.wire.test_texts import HOW, tokenizer

REFERENCE = f"{TINY}:build"
QUICK = ("--max-cuts", 2, "--codecs", "")
"""The ends only and no encoders: a bundle in the least time."""

MODELS = (
    """
from pathlib import Path

import torch
from torch import nn

class ManyLayers(nn.Sequential):
    '''Enough operators that lowering them is shared with a worker.'''
    def __init__(self):
        super().__init__(*(
            layer for _ in range(120) for layer in (nn.Linear(16, 16), nn.ReLU())
        ))

def example_inputs():
    return (torch.ones(1, 16),)
"""
    + REFUSED
)

PHOTO_MODEL = """
import torch
from tests.cli.tiny_model import PREPROCESS, build

def example_inputs():
    # Within what pixels become: int8 heads are judged by the golden input too.
    return (torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1,)
"""

TEXT_MODEL = """
from pathlib import Path

import torch
from torch import nn
from tests.wire.test_texts import HOW as PREPROCESS

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(16, 8)
    def forward(self, ids, mask):
        return (self.embed(ids) * mask.unsqueeze(-1)).sum(1)

def example_inputs():
    return (torch.ones(1, 6, dtype=torch.int64), torch.ones(1, 6, dtype=torch.int64))

def assets():
    return {"tokenizer.json": Path(__file__).parent / "tokenizer.json"}
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "own.py"
    path.parent.mkdir()
    path.write_text(MODELS)
    return path


def refused(done: Done) -> str:
    """The one line of a command that failed."""
    assert done.out == ""
    assert re.fullmatch(r"mobilesplit: [^\n]+\n", done.err), done.err
    return done.err


def test_the_table_fits_and_tells_of_every_cut_what_runs_where(
    command: Command, tiny_bundle: Path, tmp_path: Path
) -> None:
    done = command("export", REFERENCE, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "from the cache" in " ".join(done.out.split())  # the fixture has exported it
    cuts = [entry.cut.id for entry in load_bundle(tiny_bundle).manifest.cuts]
    assert len(cuts) >= 3
    rows = [line.split() for line in lines[-len(cuts) - 1 : -1]]
    assert [row[0] for row in rows] == cuts
    assert rows[0][1:4] == ["49.2", "KB", "0.0%"]
    assert rows[-1][1:4] == ["40", "B", "100.0%"]
    assert all("100% ops" in line for line in lines[-len(cuts) : -1])
    assert lines[-1] == "Tails take batches of 1 to 64."
    assert "random weights" in done.err


def test_json_is_one_document_and_it_is_the_manifest(
    command: Command, tiny_bundle: Path, tmp_path: Path
) -> None:
    done = command("export", REFERENCE, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    manifest = json.loads(done.out)
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest == json.loads((tiny_bundle / "manifest.json").read_text())


def test_two_cuts_and_no_codecs_are_the_ends_and_a_program_without_encoders(
    command: Command, tmp_path: Path
) -> None:
    done = command("export", REFERENCE, "--out", tmp_path / "out", *QUICK)
    assert done.code == 0, done.err
    manifest = load_bundle(tmp_path / "out").manifest
    assert [entry.cut.id for entry in manifest.cuts] == ["input", "output"]
    assert [dict(entry.encoders) for entry in manifest.cuts] == [{}, {}]
    # It was asked for, so it is nothing to tell the user of.
    assert "No worthwhile cut" not in done.err


def empty_folder(place: Path) -> Path:
    place.mkdir()
    return place


def broken_jpeg(place: Path) -> Path:
    place.mkdir()
    photo = place / "holiday.jpg"
    Image.new("RGB", (80, 80), "red").save(photo)
    photo.write_bytes(photo.read_bytes()[:200])
    return place


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda place: place, "there is no such folder"),
        (empty_folder, "nothing to calibrate with"),
        (broken_jpeg, "holiday.jpg"),
    ],
)
def test_a_calibration_folder_that_cannot_be_used_is_refused_before_anything_is_lowered(
    command: Command, tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    words = ("--quantize", "int8", "--calibration", make(tmp_path / "photos"))
    done = command("export", REFERENCE, "--out", tmp_path / "out", *words)
    # Before it comes what is said of every model without weights of its own.
    notice, line = done.err.splitlines()
    assert "random weights" in notice
    assert line.startswith("mobilesplit: ") and says in line
    assert (done.code, done.out) == (2, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--quantize", "int8"), "--calibration FOLDER need each other"),
        (("--calibration", "."), "--calibration FOLDER need each other"),
        (("--quantize", "int4", "--calibration", "."), "int4"),
        (("--codecs", "fp16,jpeg"), "Known: fp16, int8"),
        (("--backend", "abacus"), "abacus"),
        (("--format", "onnx"), "onnx"),
        (("--max-cuts", "1"), "--max-cuts"),
        (("--max-boundary-tensors", "0"), "--max-boundary-tensors"),
        (("--tolerance", "0"), "tolerance"),
        (("--tolerance", "nan"), "tolerance"),
        (("--jobs", "0"), "--jobs"),
        (("--weights", "no-such.safetensors"), "--weights"),
    ],
)
def test_an_option_that_cannot_be_is_exit_2_and_names_it(
    command: Command, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    done = command("export", REFERENCE, "--out", tmp_path / "out", *words)
    line = done.err.splitlines()[-1]
    assert line.startswith("mobilesplit: ") and says in line
    assert (done.code, done.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_bundle_is_never_replaced(command: Command, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = command("export", REFERENCE, "--out", tmp_path, *QUICK)
    assert done.code == 2
    assert "something other than a bundle" in done.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("name", "reason", "comment"),
    [
        ("Branches", "data-dependent expression", "depends on data"),
        ("Foreign", ".numpy() is not supported", "not torch"),
    ],
)
def test_a_model_that_torch_export_refuses_is_told_why_and_where_and_nothing_is_written(
    command: Command, models: Path, tmp_path: Path, name: str, reason: str, comment: str
) -> None:
    done = command("export", f"{models}:{name}", "--out", tmp_path / "bundles" / "out")
    said = refused(done)
    assert done.code == 1
    assert reason in said
    number = next(i for i, line in enumerate(MODELS.splitlines(), 1) if f"# {comment}" in line)
    assert f"own.py:{number} in forward" in said
    assert not (tmp_path / "bundles").exists()


def flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "name", "words"),
    [
        (flip_a_byte, "heads.pte", ("push",)),
        (flip_a_byte, "heads.pte", ("profile", "--out", "profile.json")),
        (flip_a_byte, "stages/00.pt2", ("serve",)),
        (flip_a_byte, "golden_input.safetensors", ("run", "--cut", "output")),
        (Path.unlink, "stages/01.pt2", ("serve",)),
        (Path.unlink, "heads.pte", ("run", "--cut", "output")),
    ],
)
def test_a_tampered_bundle_is_refused_by_whoever_would_use_it(
    command: Command,
    tiny_bundle: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    name: str,
    words: tuple[str, ...],
) -> None:
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    damage(copy / name)
    done = command(words[0], copy, *words[1:])
    said = refused(done)
    assert done.code == 1
    assert name in said and "Run `mobilesplit export` again." in said


def test_a_bundle_without_its_tokenizer_is_refused(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "words.py"
    source.write_text(TEXT_MODEL)
    (tmp_path / HOW.tokenizer).write_text(tokenizer().to_str())
    out = tmp_path / "out"
    assert command("export", f"{source}:Words", "--out", out, *QUICK).code == 0
    (out / HOW.tokenizer).unlink()
    done = command("run", out, "--text", "head tail", "--cut", "output")
    assert done.code == 1
    assert "tokenizer.json is missing" in refused(done)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many KiB, where the machine allows that."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size_kib: int) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(place)]
        try:
            subprocess.run(words, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system can be mounted here: {error}")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_from_the_start_has_nothing_half_written(
    command: Command, tiny_bundle: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(100)
    done = command("export", REFERENCE, "--out", disk / "bundles" / "out")  # from the cache
    line = done.err.splitlines()[-1]
    assert (done.code, done.out) == (1, "")
    assert "No space left on device" in line and "Free some space" in line
    assert [path for path in disk.rglob("*") if path.is_file()] == []


def test_a_disk_that_fills_up_keeps_the_bundle_that_was_there(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_bundle: Path,
    small_disk: Callable[[int], Path],
) -> None:
    disk = small_disk(340)  # one bundle fits, and all of the next one but its stages
    old = shutil.copytree(tiny_bundle, disk / "out")
    files = sorted(disk.rglob("*"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    done = command("export", REFERENCE, "--out", old, *QUICK)
    assert (done.code, done.out) == (1, "")
    assert "No space left on device" in done.err.splitlines()[-1]
    assert sorted(disk.rglob("*")) == files
    assert load_bundle(old).manifest == load_bundle(tiny_bundle).manifest


@pytest.mark.e2e
def test_int8_heads_run_on_the_phone_and_float_tails_in_the_server(
    command: Command, home: Home, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(6):
        coarse = generator.integers(0, 256, (6, 8, 3), np.uint8)
        photo = Image.fromarray(coarse).resize((96, 72), Image.Resampling.BICUBIC)
        photo.save(photos / f"{index}.jpg")
    source = tmp_path / "own.py"
    source.write_text(PHOTO_MODEL)
    out = tmp_path / "out"
    words = ("--quantize", "int8", "--calibration", photos, "--codecs", "")
    done = command("export", f"{source}:build", "--out", out, *words)
    assert done.code == 0, done.err
    assert re.search(r"^output +.* \d+ dB", done.out, re.MULTILINE)
    manifest = load_bundle(out).manifest
    entry = next(entry for entry in manifest.cuts if any(entry.scales))
    assert [spec.dtype for spec in entry.cut.boundary] == ["int8"]

    home.json("emulator", "start", "--device", "flagship-2024")
    with home.serving(out) as (_, server):
        ran = home.json(
            "run", out, "--image", photos / "0.jpg", "--cut", entry.cut.id, "--cloud", server["url"]
        )
    assert ran["fell_back"] is None
    assert home.json("emulator", "list")["phones"][0]["inferences"] == 1
    # A byte an element: the boundary crosses as the head returns it.
    assert ran["uplink_bytes"] == math.prod(entry.cut.boundary[0].shape)
    expected = _float_outputs(photos / "0.jpg")[: len(ran["outputs"][0]["first"])]
    error = np.array(ran["outputs"][0]["first"]) - expected
    assert np.linalg.norm(error) < 0.1 * np.linalg.norm(expected)  # 20 dB


def _float_outputs(photo: Path) -> np.ndarray:
    """What the original model, in floats, makes of a photo."""
    assert isinstance(tiny_model.PREPROCESS, ImageInput)
    pixels = to_pixels(photo.read_bytes(), tiny_model.PREPROCESS)
    with torch.no_grad():
        outputs = tiny_model.build()(torch.from_numpy(normalise(pixels, tiny_model.PREPROCESS)))
    return outputs.numpy().reshape(-1)


@pytest.mark.e2e
def test_torchscript_heads_run_on_a_virtual_phone_that_allows_their_runner(
    command: Command, home: Home, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = command("export", REFERENCE, "--out", out, "--format", "torchscript", "--max-cuts", 2)
    assert done.code == 0, done.err
    assert load_bundle(out).manifest.cuts[-1].scripts
    runner = home.json("runner", "build", "torchscript")["path"]
    home.json("emulator", "start", "--device", "flagship-2024", "--allow", runner)
    assert home.json("push", out)["runner_kind"] == "torchscript"
    ran = home.json("run", out, "--cut", "output")
    assert ran["cut"] == "output" and len(ran["outputs"]) == 1


@pytest.mark.e2e
@pytest.mark.parametrize("library", ["", "libtorch_cpu.so"], ids=["at its start", "with torch"])
def test_ctrl_c_while_a_worker_lowers_leaves_nothing(
    home: Home, models: Path, tmp_path: Path, library: str
) -> None:
    out = tmp_path / "bundles" / "out"
    process = home.start("export", f"{models}:ManyLayers", "--out", out, "--jobs", 2)
    try:
        while not _worker_has(home, library):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        interrupt(process)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, stdout, stderr) == (130, "", "mobilesplit: interrupted.\n")
    home.wait_until_nothing_runs()
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def _worker_has(home: Home, library: str) -> bool:
    """Whether a worker runs, and has loaded ``library``."""
    for pid, command_line in home.running().items():
        if "mobilesplit.export.worker" in command_line:
            with contextlib.suppress(OSError):
                return library in Path(f"/proc/{pid}/maps").read_text()
    return False


@pytest.mark.e2e
def test_an_error_that_an_interrupt_led_to_is_an_interrupt(home: Home, tmp_path: Path) -> None:
    source = tmp_path / "own.py"
    source.write_text(
        "def build():\n"
        "    try:\n"
        "        raise KeyboardInterrupt\n"
        "    finally:\n"
        "        raise RuntimeError('a file could not be closed')\n"
        "example_inputs = build\n"
    )
    done = home.run("export", f"{source}:build", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "mobilesplit: interrupted.\n")
