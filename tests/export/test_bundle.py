"""One test per way a bundle on disk can be wrong, and what writing leaves behind."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import BundleError, InputFileError, UsageError
from mobilesplit.core.manifest import BundleCut, Manifest
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.export.bundle import copy_bundle, load_bundle, write_bundle

X = TensorSpec(name="x", dtype="float32", shape=(1, 4))
Y = TensorSpec(name="y", dtype="float32", shape=(1, 2))
MANIFEST = Manifest(
    schema_="mobilesplit.bundle/2",
    model="tiny",
    weights="random",
    backend="portable",
    program="heads.pte",
    stages=("stages/00.pt2",),
    cuts=(
        BundleCut(
            cut=Cut(id="input", depth=0, boundary=(X,), head_flops=0, tail_flops=16),
            method=None,
            first_stage=0,
            max_abs_error=0.0,
        ),
        BundleCut(
            cut=Cut(id="output", depth=1, boundary=(Y,), head_flops=16, tail_flops=0),
            method="head_output",
            first_stage=1,
            max_abs_error=1e-7,
        ),
    ),
    outputs=(Y,),
    golden_input="golden_input.safetensors",
    golden_output="golden_output.safetensors",
    tolerance=1e-3,
    sha256={},
    versions={"mobilesplit": "0"},
)
NAMES = ("heads.pte", "stages/00.pt2", "golden_input.safetensors", "golden_output.safetensors")


def files(content: str = "bytes") -> dict[str, Callable[[Path], None]]:
    def writer(name: str) -> Callable[[Path], None]:
        return lambda path: path.write_text(f"{content} of {name}") and None

    return {name: writer(name) for name in NAMES}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", MANIFEST, files()).root


def edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_was_written_is_read(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert set(loaded.manifest.sha256) == set(NAMES)
    assert loaded.manifest.model_copy(update={"sha256": {}}) == MANIFEST
    assert loaded.path("heads.pte").read_text() == "bytes of heads.pte"


def test_a_copy_is_a_bundle(bundle: Path, tmp_path: Path) -> None:
    copy = copy_bundle(load_bundle(bundle), tmp_path / "deep" / "copy")
    assert load_bundle(copy.root).manifest == load_bundle(bundle).manifest


def test_reading_a_bundle_loads_no_torch() -> None:
    code = "import sys, mobilesplit.export.bundle; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_found(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[0] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} is not what was exported.*export. again"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(bundle)


def test_an_unknown_key_is_named(bundle: Path) -> None:
    edit(bundle, lambda document: document.update(colour="red"))
    with pytest.raises(InputFileError, match=r"\$\.colour"):
        load_bundle(bundle)


def test_another_version_is_refused(bundle: Path) -> None:
    edit(bundle, lambda document: document.update(schema="mobilesplit.bundle/9"))
    with pytest.raises(InputFileError, match=r"\$\.schema.*export. again"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "stages/../../secret", "a\\b"])
def test_a_name_that_leaves_the_folder_is_refused(bundle: Path, name: str) -> None:
    def escape(document: dict[str, Any]) -> None:
        document["sha256"][name] = document["sha256"][document["program"]]
        document["program"] = name

    edit(bundle, escape)
    with pytest.raises(BundleError, match="leaves the folder"):
        load_bundle(bundle)


def test_a_link_that_leaves_the_folder_is_refused(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (bundle / "heads.pte").rename(outside)
    (bundle / "heads.pte").symlink_to(outside)
    with pytest.raises(BundleError, match="leaves the folder"):
        load_bundle(bundle)


def test_a_file_without_a_digest_is_refused(bundle: Path) -> None:
    edit(bundle, lambda document: document["sha256"].pop("heads.pte"))
    with pytest.raises(BundleError, match="has no digest"):
        load_bundle(bundle)


def test_cuts_that_do_not_fit_the_stages_are_refused(bundle: Path) -> None:
    edit(bundle, lambda document: document["cuts"][0].update(first_stage=1))
    with pytest.raises(BundleError, match="do not fit together"):
        load_bundle(bundle)


@pytest.mark.parametrize("keep", [0, 1, 200])
def test_a_truncated_manifest_is_refused_in_one_line(bundle: Path, keep: int) -> None:
    path = bundle / "manifest.json"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputFileError) as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("Run `mobilesplit export` again.")


def test_no_bundle_says_how_to_get_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputFileError, match="no bundle here"):
            load_bundle(path)


def full_disk(path: Path) -> None:
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupt(path: Path) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No space left on device"):
        write_bundle(tmp_path / "bundle", MANIFEST, {**files(), "heads.pte": full_disk})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_old_bundle(bundle: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_bundle(bundle, MANIFEST, {**files("new"), "stages/00.pt2": interrupt})
    assert load_bundle(bundle).path("heads.pte").read_text() == "bytes of heads.pte"
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_failing_last_step_brings_the_old_bundle_back(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fails_on_the_new_one(self: Path, target: Path) -> Path:
        if ".new-" in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_on_the_new_one)
    with pytest.raises(BundleError, match="Input/output error"):
        write_bundle(bundle, MANIFEST, files("new"))
    assert load_bundle(bundle).path("heads.pte").read_text() == "bytes of heads.pte"
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_bundle_is_replaced(bundle: Path) -> None:
    write_bundle(bundle, MANIFEST, files("new"))
    assert load_bundle(bundle).path("heads.pte").read_text() == "new of heads.pte"
    assert list(bundle.parent.iterdir()) == [bundle]


def test_anything_but_a_bundle_is_never_replaced(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="something other than a bundle"):
        write_bundle(home, MANIFEST, files())
    with pytest.raises(UsageError, match="is not a folder"):
        write_bundle(home / "letter.txt", MANIFEST, files())
    assert (home / "letter.txt").read_text() == "dear"
