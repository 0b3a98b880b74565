"""A tiny network with a skip through the real ExecuTorch, once, and what needs no lowering."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mobilesplit.core.errors import ModelError, UnknownNameError, UsageError
from mobilesplit.export import cache, export
from mobilesplit.export.bundle import load_bundle
from mobilesplit.export.export import ExportOutcome, export_model
from mobilesplit.segment.model_source import LoadedModel
from mobilesplit.segment.quiet import quiet, quiet_native
from mobilesplit.segment.trace import trace


class SkipNet(nn.Module):
    """``sin`` is not XNNPACK's: a head has delegates and portable operators in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 3, padding=1)
        self.classify = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = self.right(torch.sin(self.left(x))) + x
        return self.classify(x.mean((2, 3)))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    torch.manual_seed(0)
    return LoadedModel(
        name="skip-net",
        module=SkipNet().eval(),
        example_inputs=(torch.randn(1, 3, 32, 32),),
        weights="random",
        preprocess=None,
        labels=None,
        description="",
    )


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where the module's export and its cache lie."""
    root = tmp_path_factory.mktemp("export")
    return root / "bundle", root / "cache"


@pytest.fixture(scope="module")
def outcome(loaded: LoadedModel, roots: tuple[Path, Path]) -> ExportOutcome:
    return export_model(loaded, out=roots[0], cache_root=roots[1])


def test_every_cut_was_run_and_compared(outcome: ExportOutcome) -> None:
    manifest = load_bundle(outcome.bundle.root).manifest
    assert not outcome.cached
    assert outcome.dropped == []
    assert [(entry.cut.id, entry.method) for entry in manifest.cuts] == [
        ("input", None),
        ("stem", "head_stem"),
        ("sin", "head_sin"),
        ("output", "head_output"),
    ]
    assert all(entry.max_abs_error < 1e-5 for entry in manifest.cuts)
    assert len(manifest.cuts[2].cut.boundary) == 2


def test_a_method_then_the_stages_from_the_files_give_the_golden_output(
    outcome: ExportOutcome,
) -> None:
    bundle = outcome.bundle
    inputs = list(load_file(bundle.path(bundle.manifest.golden_input)).values())
    expected = load_file(bundle.path(bundle.manifest.golden_output))
    with quiet_native():
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(bundle.path(bundle.manifest.program))
        boundaries = {
            entry.cut.id: inputs if entry.method is None else
            program.load_method(entry.method).execute(inputs)
            for entry in bundle.manifest.cuts
        }  # fmt: skip
    for entry in bundle.manifest.cuts:
        values = boundaries[entry.cut.id]
        assert [tuple(v.shape) for v in values] == [spec.shape for spec in entry.cut.boundary]
        with torch.no_grad(), quiet():
            for name in bundle.manifest.stages[entry.first_stage :]:
                values = torch.export.load(bundle.path(name)).module()(*values)
        names = [spec.name for spec in bundle.manifest.outputs]
        for name, value in zip(names, values, strict=True):
            assert torch.allclose(value, expected[name], atol=1e-5)


def test_the_stages_hold_each_weight_once(outcome: ExportOutcome) -> None:
    names = []
    with quiet():
        for file in outcome.bundle.manifest.stages:
            names += list(torch.export.load(outcome.bundle.path(file)).state_dict)
    assert len(names) == len(set(names)) == 8  # weight and bias of four layers, the norm folded


def test_an_unchanged_model_comes_from_the_cache(
    outcome: ExportOutcome, loaded: LoadedModel, roots: tuple[Path, Path], tmp_path: Path
) -> None:
    steps: list[str] = []
    again = export_model(loaded, out=tmp_path / "again", cache_root=roots[1], progress=steps.append)
    assert again.cached
    assert steps == ["trace skip-net"]
    assert load_bundle(again.bundle.root).manifest == outcome.bundle.manifest


def test_a_damaged_cache_entry_is_no_hit(outcome: ExportOutcome, tmp_path: Path) -> None:
    cache.store(tmp_path, "entry", outcome.bundle)
    (tmp_path / "entry" / outcome.bundle.manifest.program).write_bytes(b"other")
    assert cache.fetch(tmp_path, "entry", tmp_path / "out") is None
    assert not (tmp_path / "entry").exists()


def test_the_cache_keeps_a_few_bundles_only(outcome: ExportOutcome, tmp_path: Path) -> None:
    for index in range(10):
        cache.store(tmp_path, f"entry-{index}", outcome.bundle)
    assert len(list(tmp_path.iterdir())) == 8
    assert (tmp_path / "entry-9").exists()


def test_the_key_sees_weights_settings_and_inputs(loaded: LoadedModel) -> None:
    def key(module: nn.Module, inputs: tuple[Tensor, ...], **settings: object) -> str:
        return cache.key(trace(module, inputs), settings)

    inputs = loaded.example_inputs
    other = SkipNet()
    other.load_state_dict(loaded.module.state_dict())
    first = key(loaded.module, inputs, max_cuts=3)
    assert key(other, inputs, max_cuts=3) == first
    assert key(loaded.module, inputs, max_cuts=4) != first
    assert key(loaded.module, (inputs[0] + 1,), max_cuts=3) != first
    with torch.no_grad():
        other.right.bias[0] += 1e-3
    assert key(other, inputs, max_cuts=3) != first


def test_a_cut_that_differs_on_the_device_is_left_out_and_named(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered: list[int] = []

    def errors(_pte: bytes, methods: list[str], *_: object) -> list[float]:
        lowered.append(len(methods))
        return [0.0, *(0.5 if method == "head_stem" else 0.0 for method in methods)]

    monkeypatch.setattr(export, "_errors", errors)
    monkeypatch.setattr(
        export, "_lower", lambda _p, cuts, *_: (b"pte", [f"head_{cut.id}" for cut in cuts[1:]])
    )
    outcome = export_model(loaded, out=tmp_path / "out", cache_root=tmp_path / "cache")
    assert [cut_id for cut_id, _ in outcome.dropped] == ["stem"]
    assert [entry.cut.id for entry in outcome.bundle.manifest.cuts] == ["input", "sin", "output"]
    assert [entry.cut.depth for entry in outcome.bundle.manifest.cuts] == [0, 1, 2]
    assert lowered == [3, 2]
    load_bundle(outcome.bundle.root)


def test_a_model_that_differs_as_a_whole_is_refused_and_nothing_is_written(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_errors", lambda _pte, methods, *_: [0.0] + [0.5] * len(methods))
    monkeypatch.setattr(
        export, "_lower", lambda _p, cuts, *_: (b"pte", [f"head_{cut.id}" for cut in cuts[1:]])
    )
    with pytest.raises(ModelError, match="does not compute the same on the device"):
        export_model(loaded, out=tmp_path / "out", cache_root=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def test_settings_that_cannot_be_are_refused_at_once(loaded: LoadedModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="too few"):
        export_model(loaded, out=out, max_cuts=1)
    with pytest.raises(UsageError, match="tolerance of 0"):
        export_model(loaded, out=out, tolerance=0)
    with pytest.raises(UnknownNameError, match="Known: portable, xnnpack"):
        export_model(loaded, out=out, backend="npu")  # type: ignore[arg-type]
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="something other than a bundle"):
        export_model(replace(loaded, name="other"), out=tmp_path)
