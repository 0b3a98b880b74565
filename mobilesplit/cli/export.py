"""`mobilesplit export`: a model becomes a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mobilesplit.cli import options
from mobilesplit.cli.console import (
    human_bytes,
    print_json,
    print_table,
    read_file,
    single_step,
    stderr,
    stdout,
)
from mobilesplit.cli.models import build_model
from mobilesplit.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from mobilesplit.core.manifest import Bundle, BundleCut
    from mobilesplit.segment.model_source import LoadedModel


def export(
    model: Annotated[str, typer.Argument(help="A name of `mobilesplit models`, or FILE.py:build.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle (replaced).")],
    max_cuts: Annotated[int, typer.Option(min=2, max=64, help="Export at most so many cuts.")] = 16,
    max_boundary_tensors: options.MaxBoundaryTensors = 4,
    heads: Annotated[
        Literal["executorch", "torchscript"],
        typer.Option("--format", help="What heads are written as."),
    ] = "executorch",
    backend: Annotated[
        Literal["xnnpack", "vulkan", "portable"] | None,
        typer.Option(
            help="Delegate of ExecuTorch heads. Default: xnnpack. vulkan is lowered ahead of time,"
            " but cannot run here."
        ),
    ] = None,
    codecs: Annotated[
        str | None,
        typer.Option(
            help="Codecs whose encoders go into the program; '' for none. Default: fp16,int8."
        ),
    ] = None,
    quantize: Annotated[
        Literal["int8"] | None, typer.Option(help="Quantize the heads (needs --calibration).")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder of photos, .txt or .safetensors files to quantize with."),
    ] = None,
    min_snr_db: Annotated[
        float | None,
        typer.Option(
            help="Leave out int8 cuts with a smaller signal-to-noise ratio of outputs. Default: 10."
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Leave out float cuts whose outputs differ by more, as a share of their peak."
        ),
    ] = 1e-3,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that lower. Default: one a core.")
    ] = None,
    weights: options.Weights = None,
    as_json: options.Json = False,
) -> None:
    """Export every head into one ExecuTorch program, and the tails, as a verified bundle.

    Each head is run here as it was exported, then its tail, and compared with the whole model; a
    cut that does not hold is left out and named. An unchanged model comes from a cache.
    """
    if (quantize is None) != (calibration is None):
        raise UsageError("--quantize int8 and --calibration FOLDER need each other.")
    if min_snr_db is not None and quantize is None:
        raise UsageError("--min-snr-db is of int8 heads.", next_step="Give --quantize int8 too.")
    with single_step("export", quiet=as_json) as step:
        step.note("loading torch")
        from mobilesplit.export.bundle import check_target
        from mobilesplit.export.export import export_model
        from mobilesplit.export.settings import DEVICE_CODECS, ExportSettings
        from mobilesplit.segment.trace import trace as trace_module

        script = heads == "torchscript"
        settings = ExportSettings(
            max_cuts=max_cuts,
            max_boundary_tensors=max_boundary_tensors,
            format=heads,
            backend=backend or ("portable" if script else "xnnpack"),
            codecs=_codecs(codecs) if codecs is not None else () if script else DEVICE_CODECS,
            calibration=None if quantize is None else (),
            tolerance=tolerance,
            min_snr_db=10.0 if min_snr_db is None else min_snr_db,
            jobs=jobs,
        )
        settings.check()
        check_target(out)
        loaded = build_model(model, weights)
        graph = None
        if calibration is not None:
            step.note("read the calibration inputs")
            graph = trace_module(loaded.module, loaded.example_inputs)
            inputs = _calibration(calibration, loaded, [node.name for node in graph.inputs])
            settings = replace(settings, calibration=inputs)
        outcome = export_model(loaded, out=out, settings=settings, graph=graph, progress=step.note)
    manifest = outcome.bundle.manifest
    if as_json:
        print_json(manifest.save())
        return
    for cut_id, why in manifest.left_out.items():
        stderr.print(f"left out {cut_id}: {why}")
    for notice in manifest.notices:
        stderr.print(notice)
    _print(outcome.bundle, cached=outcome.cached)


def _codecs(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def _calibration(
    folder: Path, loaded: LoadedModel, input_names: list[str]
) -> tuple[tuple[Tensor, ...], ...]:
    import torch

    from mobilesplit.core.manifest import TextInput
    from mobilesplit.export.calibration import PrepareText, load_calibration
    from mobilesplit.wire.texts import TextEncoder

    prepare_text: PrepareText | None = None
    if isinstance(loaded.preprocess, TextInput):
        tokenizer = read_file(loaded.assets[loaded.preprocess.tokenizer])
        encoder = TextEncoder(tokenizer, loaded.preprocess)
        prepare_text = lambda text: tuple(map(torch.from_numpy, encoder.encode(text)))  # noqa: E731
    return tuple(load_calibration(folder, loaded, input_names, prepare_text=prepare_text))


def _print(bundle: Bundle, *, cached: bool) -> None:
    manifest = bundle.manifest
    how = "lowered and verified"
    if cached:
        how = "from the cache"
    elif not manifest.ran_here:
        how = f"not run here ({manifest.backend}): its portable form was verified"
    size = human_bytes(_heads_nbytes(bundle))
    print_table(
        f"{bundle.root}: {manifest.model}, {size} of heads, {how}",
        ("cut", "boundary", "on device", "delegated", "head", "error/peak"),
        [
            (
                entry.cut.id,
                human_bytes(entry.cut.boundary_nbytes),
                f"{entry.cut.device_share:.1%}",
                _delegated(entry),
                _lowered(entry),
                _error(entry),
            )
            for entry in manifest.cuts
        ],
    )
    _print_left_out(manifest.cuts[-1])
    if manifest.max_tail_batch > 1:
        stdout.print(f"Tails take batches of 1 to {manifest.max_tail_batch}.")


def _heads_nbytes(bundle: Bundle) -> int:
    files = [file for entry in bundle.manifest.cuts for file in entry.scripts]
    if bundle.manifest.program is not None:
        files.append(bundle.manifest.program)
    return sum(bundle.path(file).stat().st_size for file in files)


def _delegated(entry: BundleCut) -> str:
    """Share of operators inside delegates, then of floating-point operations."""
    if entry.coverage is None or not entry.coverage.operators:
        return "-"
    share = entry.coverage.delegated_operators / entry.coverage.operators
    flops = entry.coverage.delegated_flops_share
    return f"{share:.0%} ops" + (f", {flops:.1%} FLOP" if flops is not None else "")


def _lowered(entry: BundleCut) -> str:
    if entry.scripts:
        return "script"
    if entry.method is None:
        return "-"
    return "fused" if entry.fused else "composed"


def _error(entry: BundleCut) -> str:
    if entry.deviation is None:
        return f"{entry.max_relative_error:.1g}"
    agreement, count = entry.deviation.top1_agreement, entry.deviation.num_inputs
    same = "" if agreement is None else f", {agreement * count:.0f} of {count} same"
    return f"{entry.deviation.snr_db:.0f} dB{same}"


def _print_left_out(whole: BundleCut) -> None:
    """Which operators no delegate took: the CPU's portable kernels run them, slowly."""
    if (
        whole.coverage is not None
        and whole.coverage.left_out
        and whole.coverage.delegated_operators
    ):
        named = ", ".join(f"{name} x{count}" for name, count in whole.coverage.left_out.items())
        stdout.print(f"Not delegated: {named}.")
