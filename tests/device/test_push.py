"""What reaches the device is checked before it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilesplit.core.errors import UsageError
from mobilesplit.core.manifest import Bundle
from mobilesplit.device.device import Device
from mobilesplit.device.push import REMOTE_FOLDER, push_bundle
from tests.twice import make_manifest


def test_torchscript_heads_of_an_older_bundle_are_refused_with_what_to_do(
    device: Device, tmp_path: Path
) -> None:
    manifest = make_manifest()
    cuts = tuple(entry.model_copy(update={"method": None}) for entry in manifest.cuts)
    older = manifest.model_copy(update={"format": "torchscript", "program": None, "cuts": cuts})
    (tmp_path / "runner").write_bytes(b"runner")
    with pytest.raises(UsageError, match=r"no method names.*Export it again"):
        push_bundle(device, Bundle(root=tmp_path, manifest=older), tmp_path / "runner")
    assert device.shell(f"ls {REMOTE_FOLDER}").exit_code != 0


def test_torchscript_heads_are_pushed_as_the_folder_that_their_runner_takes(
    device: Device, tmp_path: Path
) -> None:
    input_cut, *heads = make_manifest().cuts
    head = {"method": "01", "scripts": ("head.pt", "head.ptl")}
    cuts = (input_cut, *(entry.model_copy(update=head) for entry in heads))
    changes = {"format": "torchscript", "program": None, "cuts": cuts}
    bundle = Bundle(root=tmp_path, manifest=make_manifest().model_copy(update=changes))
    for name in ("runner", "head.pt"):
        (tmp_path / name).write_bytes(name.encode())
    pushed = push_bundle(device, bundle, tmp_path / "runner")
    there = device.check_shell(f"ls {pushed.program}").split()
    assert set(there) == {"01.pt", "methods.txt"}
    assert pushed.sent_bytes > 0
    assert push_bundle(device, bundle, tmp_path / "runner").sent_bytes == 0
