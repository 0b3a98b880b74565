"""What reaches the device is checked before it is sent, and whole once it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilesplit.core.errors import DeviceError, DeviceTimeoutError, UsageError
from mobilesplit.core.manifest import Bundle
from mobilesplit.device.device import Device, ShellResult
from mobilesplit.device.push import REMOTE_FOLDER, push_bundle, push_file
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


def test_a_file_that_arrives_damaged_is_removed_and_told(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"right")
    (tmp_path / "damaged").write_bytes(b"wrong")
    send = device.push
    monkeypatch.setattr(
        device, "push", lambda _source, target, **_: send(tmp_path / "damaged", target)
    )
    with pytest.raises(DeviceError, match="arrived damaged"):
        push_file(device, tmp_path / "x", "/data/local/tmp/x", mode=0o644)
    assert device.shell("ls /data/local/tmp").text == ""


def test_a_file_that_is_there_gets_its_mode_back(device: Device, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    target = "/data/local/tmp/x"
    push_file(device, tmp_path / "x", target, mode=0o755)
    device.check_shell(f"chmod 600 {target}")
    assert push_file(device, tmp_path / "x", target, mode=0o755) == 0
    assert device.check_shell(f"stat -c %a {target}") == "755"


def test_no_push_writes_into_the_half_file_of_another(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    send = device.push

    def push_while_another_pushes(source: Path, target: str, *, mode: int, **_: object) -> None:
        names.append(target)
        if len(names) == 1:
            push_file(device, tmp_path / "new", "/data/local/tmp/x", mode=mode)
        send(source, target, mode=mode)

    monkeypatch.setattr(device, "push", push_while_another_pushes)
    (tmp_path / "x").write_bytes(b"x")
    (tmp_path / "new").write_bytes(b"new")
    push_file(device, tmp_path / "x", "/data/local/tmp/x", mode=0o644)
    assert len(set(names)) == 2
    assert device.pull("/data/local/tmp/x") == b"x"
    assert device.check_shell("ls /data/local/tmp") == "x"


def test_a_push_that_is_too_slow_leaves_nothing_half(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(bytes(8 << 20))
    send = device.push
    monkeypatch.setattr(
        device, "push", lambda source, target, **_: send(source, target, timeout_s=0.002)
    )
    with pytest.raises(DeviceTimeoutError, match=r"no answer within 0.002 s"):
        push_file(device, tmp_path / "x", "/data/local/tmp/x", mode=0o644)
    assert device.shell("ls /data/local/tmp").text == ""


def test_a_device_without_sha256sum_is_told_what_it_lacks(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"x")
    monkeypatch.setattr(device, "shell", lambda *_, **__: ShellResult(127, b"", "not found"))
    with pytest.raises(DeviceError, match=r"no sha256sum.*Android 7"):
        push_file(device, tmp_path / "x", "/data/local/tmp/x", mode=0o644)
