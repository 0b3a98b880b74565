"""Skips and dense connections: where several tensors cross, head and tail run as two parties.

The models are small relatives (skip_models.py) of the U-Net and the DenseNet of models/, built by
the same code: exporting those two takes over a minute.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from mobilesplit.core.manifest import Bundle, BundleCut
from mobilesplit.export.bundle import load_bundle
from tests.cli.conftest import Home

pytestmark = pytest.mark.e2e

MODELS = Path(__file__).parent / "skip_models.py"


@pytest.mark.parametrize("model", ["unet", "densenet"])
def test_a_cut_that_several_tensors_cross_runs_on_phone_and_server_and_gives_the_whole(
    home: Home, tmp_path: Path, model: str
) -> None:
    out = tmp_path / "bundle"
    exported = home.json("export", f"{MODELS}:{model}", "--out", out, "--max-cuts", 6)
    assert exported["left_out"] == {}
    bundle = load_bundle(out)
    entry = _widest(bundle)
    assert len(entry.cut.boundary) >= 2

    home.json("emulator", "start", "--device", "flagship-2024")
    assert home.json("push", out)["sent_bytes"] > 0
    with home.serving(out) as (_, server):
        words = ("run", out, "--cut", entry.cut.id, "--cloud", server["url"])
        raw = home.json(*words)
        int8 = home.json(*words, "--codec", "int8")
        tail_runs = _tail_runs(server)
    # Head on the phone, tail in the server, twice each: the counts are their own.
    assert home.json("emulator", "list")["phones"][0]["inferences"] == 2
    assert tail_runs == 2
    for ran in (raw, int8):
        assert ran["sample"] == "the golden input"
        assert ran["fell_back"] is None
        assert ran["head_ms"] > 0 and ran["tail_ms"] > 0

    _check_outputs(bundle, raw, bundle.manifest.tolerance)
    _check_outputs(bundle, int8, entry.encoders["int8"].deviation.max_abs_error + 1e-5)
    assert int8["outputs"][0]["first"] != raw["outputs"][0]["first"]
    assert raw["uplink_bytes"] == entry.cut.boundary_nbytes
    # A quarter, and for every tensor a float64 scale and an int64 zero point.
    assert int8["uplink_bytes"] == raw["uplink_bytes"] // 4 + 16 * len(entry.cut.boundary)


def _widest(bundle: Bundle) -> BundleCut:
    return max(bundle.manifest.cuts, key=lambda entry: len(entry.cut.boundary))


def _check_outputs(bundle: Bundle, ran: dict[str, Any], allowed: float) -> None:
    """What `run` tells of the outputs is the original model's, within ``allowed`` an element."""
    golden = load_file(bundle.path(bundle.manifest.golden_output))
    for told in ran["outputs"]:
        expected = golden[told["name"]].astype(np.float64)
        assert told["shape"] == list(expected.shape)
        first = expected.reshape(-1)[: len(told["first"])]
        assert np.abs(np.array(told["first"]) - first).max() <= allowed
        assert np.abs(first).max() > 100 * bundle.manifest.tolerance
        norm = float(np.linalg.norm(expected))
        assert abs(told["norm"] - norm) <= allowed * expected.size**0.5


def _tail_runs(server: dict[str, Any]) -> int:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{server['port']}/healthz", timeout=5) as answer:
        return int(json.load(answer)["tail_runs"])
