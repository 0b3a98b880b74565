"""The executor runs a real bundle's stages: a tiny one, exported here."""

import numpy as np
import pytest
import torch

from mobilesplit.cloud.executor import StageExecutor
from mobilesplit.core.cuts import Cut
from mobilesplit.core.errors import BundleError
from mobilesplit.core.manifest import SCHEMA, Bundle, BundleCut, ImageInput, Manifest
from mobilesplit.core.tensors import TensorSpec

IMAGE = ImageInput(height=8, width=8, resize_shorter=10, mean=(0.5,) * 3, std=(0.5,) * 3)


class Fork(torch.nn.Module):
    """Two tensors out: a boundary with a skip connection."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        return y, y.mean((2, 3))


class Join(torch.nn.Module):
    def forward(self, y, skip):
        y.relu_()  # in place, as stages may be
        return y.mean((2, 3)) + skip


def spec(name, *shape):
    return TensorSpec(name=name, dtype="float32", shape=shape)


BOUNDARIES = (
    (spec("x", 1, 3, 8, 8),),
    (spec("y", 1, 4, 8, 8), spec("skip", 1, 4)),
    (spec("features", 1, 4),),
    (spec("scores", 1, 5),),
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return [Fork(), Join(), torch.nn.Linear(4, 5)]


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("bundle")
    (root / "stages").mkdir()
    names = tuple(f"stages/{number:02}.pt2" for number in range(3))
    for name, stage, boundary in zip(names, model, BOUNDARIES, strict=False):
        inputs = tuple(torch.randn(tensor.shape) for tensor in boundary)
        torch.export.save(torch.export.export(stage, inputs), root / name)
    ids = ("input", "fork", "join", "output")
    cuts = tuple(
        BundleCut(
            cut=Cut(id=ids[n], depth=n, boundary=BOUNDARIES[n], head_flops=n, tail_flops=3 - n),
            method=ids[n] if n else None,
            first_stage=n,
            max_abs_error=0.0,
        )
        for n in range(4)
    )
    manifest = Manifest(
        schema_=SCHEMA,
        model="tiny",
        weights="random",
        backend="portable",
        program="heads.pte",
        stages=names,
        cuts=cuts,
        outputs=BOUNDARIES[3],
        preprocess=IMAGE,
        golden_input="in",
        golden_output="out",
        tolerance=1e-4,
        sha256={},
        versions={},
    )
    return Bundle(root=root, manifest=manifest)


@pytest.fixture(scope="module")
def executor(bundle):
    return StageExecutor(bundle)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_every_tail_is_the_rest_of_the_model(executor, model, first):
    with torch.no_grad():
        boundary = (torch.randn(1, 3, 8, 8),)
        for stage in model[:first]:
            result = stage(*boundary)
            boundary = result if isinstance(result, tuple) else (result,)
        arrays = tuple(np.array(tensor) for tensor in boundary)
        for array in arrays:
            array.flags.writeable = False  # as they come off the wire
        kept = [array.copy() for array in arrays]
        whole = boundary
        for stage in model[first:]:
            result = stage(*whole)
            whole = result if isinstance(result, tuple) else (result,)
    before = executor.tail_runs
    outputs, tail_ms = executor.run_tail(("input", "fork", "join")[first], arrays)
    np.testing.assert_allclose(outputs[0], whole[0], atol=1e-6)
    assert tail_ms > 0
    assert executor.tail_runs == before + 1
    for array, copy in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_measuring_gives_samples_of_every_tail_and_codec_and_counts_no_job(executor):
    before = executor.tail_runs
    profile = executor.warm_and_measure(3)
    assert executor.tail_runs == before
    assert list(profile.tail_ms) == ["input", "fork", "join"]
    assert all(len(samples) == 3 for samples in profile.tail_ms.values())
    assert profile.decode_ms["input"].keys() == {"raw", "fp16", "int8", "uint8", "original"}
    assert profile.decode_ms["fork"].keys() == {"raw", "fp16", "int8"}
    for deeper, shallower in (("join", "fork"), ("fork", "input")):
        pairs = zip(profile.tail_ms[deeper], profile.tail_ms[shallower], strict=True)
        assert all(less < more for less, more in pairs)


def test_codecs_are_listed_for_cuts_with_a_tail(executor):
    assert list(executor.codecs) == ["input", "fork", "join"]


def test_a_stage_that_cannot_be_loaded_is_a_bundle_error(bundle, tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/00.pt2").write_bytes(b"no archive")
    with pytest.raises(BundleError, match=r"stages/00.pt2 cannot be loaded"):
        StageExecutor(Bundle(root=tmp_path, manifest=bundle.manifest))
