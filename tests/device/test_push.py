"""What reaches the device is checked before it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilesplit.core.errors import UsageError
from mobilesplit.core.manifest import Bundle
from mobilesplit.device.device import Device
from mobilesplit.device.push import REMOTE_FOLDER, push_bundle
from tests.twice import make_manifest


def test_a_bundle_of_torchscript_heads_is_refused_before_anything_is_sent(
    device: Device, tmp_path: Path
) -> None:
    manifest = make_manifest().model_copy(update={"format": "torchscript", "program": None})
    with pytest.raises(UsageError, match=r"runs ExecuTorch programs, .* --format executorch"):
        push_bundle(device, Bundle(root=tmp_path, manifest=manifest), tmp_path / "runner")
    assert device.shell(f"ls {REMOTE_FOLDER}").exit_code != 0
