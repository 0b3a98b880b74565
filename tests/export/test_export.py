"""A tiny network with a skip through the real ExecuTorch, once, and what needs no lowering."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mobilesplit.core.errors import BundleError, ModelError, UnknownNameError, UsageError
from mobilesplit.core.manifest import TextInput
from mobilesplit.export import cache, executorch_heads, verification
from mobilesplit.export.bundle import load_bundle
from mobilesplit.export.export import ExportOutcome, export_model
from mobilesplit.export.settings import ExportSettings
from mobilesplit.segment.model_source import LoadedModel
from mobilesplit.segment.quiet import quiet, quiet_native
from mobilesplit.segment.trace import trace
from tests.export.networks import SkipNet, skip_net
from tests.export.networks import loaded as loaded_model

FEW_CODECS = ExportSettings(codecs=())


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return skip_net()


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
    assert manifest.left_out == {}
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


Change = Callable[[verification.Tensors], verification.Tensors]


def returns_instead(monkeypatch: pytest.MonkeyPatch, methods: str, change: Change) -> None:
    """Make what ExecuTorch returns for methods that begin like this something else."""
    run = verification.Heads.run

    def changed(
        self: verification.Heads, method: str | None, many: Sequence[Sequence[Tensor]]
    ) -> list[verification.Tensors]:
        results = run(self, method, many)
        if method is None or not method.startswith(methods):
            return results
        return [change(tensors) for tensors in results]

    monkeypatch.setattr(executorch_heads.Heads, "run", changed)


def plus_half(tensors: verification.Tensors) -> verification.Tensors:
    return tuple(tensor + 0.5 for tensor in tensors)


def test_a_cut_that_differs_on_the_device_is_left_out_and_named(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns_instead(monkeypatch, "head_stem", plus_half)
    outcome = export_model(
        loaded, out=tmp_path / "out", settings=FEW_CODECS, cache_root=tmp_path / "cache"
    )
    manifest = load_bundle(outcome.bundle.root).manifest
    assert list(manifest.left_out) == ["stem"]
    assert "differs by" in manifest.left_out["stem"]
    assert [entry.cut.id for entry in manifest.cuts] == ["input", "sin", "output"]
    assert [entry.cut.depth for entry in manifest.cuts] == [0, 1, 2]
    assert len(manifest.stages) == 2


def test_a_model_that_differs_as_a_whole_is_refused_and_nothing_is_written(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns_instead(monkeypatch, "head_output", plus_half)
    with pytest.raises(ModelError, match="does not hold on the device"):
        export_model(
            loaded, out=tmp_path / "out", settings=FEW_CODECS, cache_root=tmp_path / "cache"
        )
    assert list(tmp_path.iterdir()) == []


class TwoScales(nn.Module):
    """One large output beside a small one, and large outputs altogether."""

    def __init__(self, large: float, small: float) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 4)
        self.large, self.small = large, small

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.one(x).relu()
        return hidden * self.large, self.two(hidden) * self.small


def test_a_small_output_that_is_wrong_does_not_hide_behind_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns_instead(
        monkeypatch, "head_output", lambda both: (both[0], torch.full_like(both[1], 7e-4))
    )
    model = loaded_model(TwoScales(50.0, 1e-5), (torch.randn(1, 8),), "two-scales")
    with pytest.raises(ModelError, match="does not hold on the device"):
        export_model(model, out=tmp_path / "out", settings=FEW_CODECS, cache_root=tmp_path / "c")


def test_large_outputs_may_differ_by_rounding(tmp_path: Path) -> None:
    model = loaded_model(TwoScales(1e6, 1e6), (torch.randn(1, 8),), "large")
    outcome = export_model(
        model, out=tmp_path / "out", settings=FEW_CODECS, cache_root=tmp_path / "c"
    )
    for entry in outcome.bundle.manifest.cuts:
        assert entry.max_relative_error <= outcome.bundle.manifest.tolerance


class Flags(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.exp() > 1).logical_not()


def test_a_model_may_return_bools_and_take_memory_in_another_order(tmp_path: Path) -> None:
    image = torch.randn(1, 3, 4, 4).to(memory_format=torch.channels_last)
    for name, module, inputs in (
        ("flags", Flags(), (torch.randn(1, 4),)),
        ("conv", nn.Conv2d(3, 2, 1), (image,)),
    ):
        outcome = export_model(
            loaded_model(module, inputs, name),
            out=tmp_path / name,
            settings=FEW_CODECS,
            cache_root=tmp_path / "c",
        )
        assert outcome.bundle.manifest.left_out == {}


def test_an_encoder_that_is_not_the_codec_is_not_offered(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns_instead(
        monkeypatch, "encode_fp16", lambda blobs: tuple(torch.zeros_like(blob) for blob in blobs)
    )
    outcome = export_model(loaded, out=tmp_path / "out", cache_root=tmp_path / "c")
    manifest = outcome.bundle.manifest
    assert list(manifest.find("stem").encoders) == ["int8"]
    assert any("stem: no codec fp16 on the device" in notice for notice in manifest.notices)


class Sorted(nn.Module):
    """``sort`` has no kernel in ExecuTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).sort(dim=1).values)


def test_an_operator_without_a_kernel_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = loaded_model(Sorted(), (torch.randn(1, 8),), "sorted")
    with capfd.disabled(), pytest.raises(ModelError, match=r"no kernel for aten::sort"):
        export_model(model, out=tmp_path / "out", settings=FEW_CODECS, cache_root=tmp_path / "c")


def test_the_files_that_a_model_brings_are_in_its_bundle(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    model = replace(
        loaded_model(nn.Linear(4, 2), (torch.ones(1, 4),), "linear"),
        preprocess=TextInput(tokenizer="tokenizer.json", length=4),
        assets={"tokenizer.json": tokenizer},
    )
    settings = ExportSettings(backend="portable", codecs=())
    outcome = export_model(
        model, out=tmp_path / "out", settings=settings, cache_root=tmp_path / "cache"
    )
    bundle = load_bundle(outcome.bundle.root)
    assert bundle.path("tokenizer.json").read_text() == "{}"
    assert "tokenizer.json" in bundle.manifest.sha256
    # Nothing lies between the ends of a single layer, and the bundle says so.
    assert [entry.cut.id for entry in bundle.manifest.cuts] == ["input", "output"]
    assert bundle.manifest.notices[0].startswith("No worthwhile cut")
    tokenizer.write_text("{ }")
    changed = export_model(
        model, out=tmp_path / "again", settings=settings, cache_root=tmp_path / "cache"
    )
    assert not changed.cached


def test_int8_heads_cross_as_int8_and_say_what_it_costs(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(2)
    calibration = tuple((torch.randn(1, 3, 32, 32, generator=generator),) for _ in range(6))
    outcome = export_model(
        loaded,
        out=tmp_path / "out",
        settings=ExportSettings(calibration=calibration, codecs=()),
        cache_root=tmp_path / "cache",
    )
    manifest = load_bundle(outcome.bundle.root).manifest
    assert manifest.quantization is not None
    assert manifest.quantization.calibration_inputs == 4
    stem = manifest.find("stem")
    assert [spec.dtype for spec in stem.cut.boundary] == ["int8"]
    assert stem.scales[0] is not None
    for entry in manifest.cuts[1:]:
        assert entry.deviation is not None
        assert entry.deviation.num_inputs == 2  # those that were held out
        assert entry.deviation.snr_db > 15
        assert entry.deviation.top1_agreement is not None
    assert [spec.dtype for spec in manifest.cuts[-1].cut.boundary] == ["float32"]


def test_torchscript_heads_are_two_files_a_cut(loaded: LoadedModel, tmp_path: Path) -> None:
    outcome = export_model(
        loaded,
        out=tmp_path / "out",
        settings=ExportSettings(format="torchscript", backend="portable", codecs=()),
        cache_root=tmp_path / "cache",
    )
    bundle = load_bundle(outcome.bundle.root)
    assert bundle.manifest.program is None
    assert bundle.manifest.cuts[0].scripts == ()
    for entry in bundle.manifest.cuts[1:]:
        assert [Path(name).suffix for name in entry.scripts] == [".pt", ".ptl"]
        assert {Path(name).stem for name in entry.scripts} == {entry.method}
        inputs = load_file(bundle.path(bundle.manifest.golden_input)).values()
        boundary = torch.jit.load(bundle.path(entry.scripts[0]))(*inputs)
        assert [tuple(tensor.shape) for tensor in boundary] == [
            spec.shape for spec in entry.cut.boundary
        ]


def test_vulkan_heads_are_not_run_here_and_say_so(loaded: LoadedModel, tmp_path: Path) -> None:
    outcome = export_model(
        loaded,
        out=tmp_path / "out",
        settings=ExportSettings(backend="vulkan", codecs=()),
        cache_root=tmp_path / "cache",
    )
    manifest = load_bundle(outcome.bundle.root).manifest
    assert not manifest.ran_here
    assert all(entry.max_abs_error < 1e-5 for entry in manifest.cuts)  # of the portable form
    assert b"VulkanBackend" in outcome.bundle.path("heads.pte").read_bytes()


def test_a_full_disk_leaves_nothing_half_written(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any, **__: Any) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BundleError, match=r"cannot be written: No space left.*Free some space"):
        export_model(
            loaded,
            out=tmp_path / "out",
            settings=ExportSettings(backend="portable", codecs=(), max_cuts=2),
            cache_root=tmp_path / "cache",
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ExportSettings(max_cuts=1), "too few"),
        (ExportSettings(max_boundary_tensors=0), "at least one tensor"),
        (ExportSettings(tolerance=0), "tolerance of 0"),
        (ExportSettings(backend="npu"), "Known: portable, vulkan, xnnpack"),  # type: ignore[arg-type]
        (ExportSettings(format="onnx"), "Known: executorch, torchscript"),  # type: ignore[arg-type]
        (ExportSettings(codecs=("zip",)), "Known: fp16, int8"),
        (ExportSettings(calibration=(), format="torchscript"), "TorchScript heads are float"),
        (ExportSettings(format="torchscript"), "no backend xnnpack"),
        (ExportSettings(format="torchscript", backend="portable"), "Leave out --codecs"),
        (ExportSettings(calibration=(), backend="portable"), "int8 heads are for XNNPACK"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(
    loaded: LoadedModel, tmp_path: Path, settings: ExportSettings, message: str
) -> None:
    with pytest.raises((UsageError, UnknownNameError), match=message):
        export_model(loaded, out=tmp_path / "out", settings=settings)


def test_a_folder_of_something_else_is_never_replaced(loaded: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="something other than a bundle"):
        export_model(loaded, out=tmp_path)
