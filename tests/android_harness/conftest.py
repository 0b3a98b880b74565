"""A tiny program and both runners: whatever is asserted of one holds for the other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mobilesplit.core.tensors import TensorSpec
from mobilesplit.device.runner_build import Runner, build_host_runner
from mobilesplit.export.encoders import encoder_program


class Whole(nn.Module):
    """conv, relu, linear: x 1x3x8x8 -> 1x5."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.linear = nn.Linear(8 * 8 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.conv(x)).flatten(1))


class Pair(nn.Module):
    """A head with a boundary of two tensors of two dtypes: 1x8x8x8 float32 and 1x8 int32."""

    def __init__(self, whole: Whole) -> None:
        super().__init__()
        self.conv = whole.conv

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.conv(x))
        return features, (features.amax((2, 3)) * 1000).to(torch.int32)


class Sum(nn.Module):
    """Two inputs: 2x3 and 3."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Finish(nn.Module):
    """The rest after the pair: 1x8x8x8 and 1x8 -> 1x5, as the whole gives it."""

    def __init__(self, whole: Whole) -> None:
        super().__init__()
        self.linear = whole.linear

    def forward(self, features: torch.Tensor, peaks: torch.Tensor) -> torch.Tensor:
        return self.linear(features.flatten(1))


class LookUp(nn.Module):
    """Takes the pair's outputs and fails where a peak is 400 or more: 1x8x8x8 and 1x8 -> 1x8."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Buffer(torch.arange(400.0))

    def forward(self, features: torch.Tensor, peaks: torch.Tensor) -> torch.Tensor:
        return self.table[peaks.long()]


BOUNDARIES = {
    "whole": (TensorSpec(name="y", dtype="float32", shape=(1, 5)),),
    "pair": (
        TensorSpec(name="features", dtype="float32", shape=(1, 8, 8, 8)),
        TensorSpec(name="peaks", dtype="int32", shape=(1, 8)),
    ),
}
"""What the two heads return. Their encoders are the methods ``<codec>_<head>``."""


@dataclasses.dataclass(frozen=True)
class TinyProgram:
    """The .pte, an input, and what torch makes of it.

    Methods: `Whole`, `Pair`, `Finish`, `LookUp` and `Sum` by their names in lower case, and the
    encoders.
    """

    path: Path
    x: np.ndarray
    x_path: Path
    expected: dict[str, list[np.ndarray]]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> TinyProgram:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    torch.manual_seed(0)
    whole = Whole().eval()
    x = torch.randn(1, 3, 8, 8)
    pair = Pair(whole).eval()
    methods = {
        "whole": torch.export.export(whole, (x,)),
        "pair": torch.export.export(pair, (x,)),
        "finish": torch.export.export(Finish(whole).eval(), pair(x)),
        "lookup": torch.export.export(LookUp(), pair(x)),
        "sum": torch.export.export(Sum(), (torch.zeros(2, 3), torch.zeros(3))),
    }
    partitioner = {name: [XnnpackPartitioner()] for name in methods}
    for head, boundary in BOUNDARIES.items():
        for codec in ("fp16", "int8"):
            methods[f"{codec}_{head}"] = encoder_program(codec, boundary)
            partitioner[f"{codec}_{head}"] = []
    lowered = to_edge_transform_and_lower(methods, partitioner=partitioner)
    folder = tmp_path_factory.mktemp("program")
    (folder / "tiny.pte").write_bytes(lowered.to_executorch().buffer)
    (folder / "x.bin").write_bytes(x.numpy().tobytes())
    with torch.no_grad():
        expected = {
            "whole": [whole(x).numpy()],
            "pair": [tensor.numpy() for tensor in pair(x)],
        }
    return TinyProgram(folder / "tiny.pte", x.numpy(), folder / "x.bin", expected)


@pytest.fixture(scope="session")
def runner_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def cpp_runner(runner_cache: Path) -> Runner:
    runner = build_host_runner(cache_root=runner_cache)
    if runner.kind != "cpp" and "No C++ compiler" in (runner.why or ""):
        pytest.skip(runner.why)
    assert runner.kind == "cpp", runner.why
    return runner


@pytest.fixture(scope="session", params=["cpp", "python"])
def runner(request: pytest.FixtureRequest) -> Runner:
    if request.param == "cpp":
        return request.getfixturevalue("cpp_runner")
    return build_host_runner(prefer="python")
