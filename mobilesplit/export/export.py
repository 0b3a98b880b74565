"""A model to a verified bundle: trace, cut, split, lower, run, compare, write.

The rule: every head was run as exported and its tail by torch, and what came out was compared
to the original model, before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import copyfile

import torch
from safetensors.torch import save
from torch import Tensor

from mobilesplit.core.cuts import OUTPUT, Cut
from mobilesplit.core.errors import ModelError
from mobilesplit.core.manifest import SCHEMA, Bundle, Manifest
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.export import cache, stages
from mobilesplit.export.bundle import Writer, check_target, file_sha256, write_bundle
from mobilesplit.export.kinds import CheckedHeads, HeadKind, Progress
from mobilesplit.export.settings import ExportSettings
from mobilesplit.export.verification import NO_KERNEL, Reference, TailRunner
from mobilesplit.segment.cuts import search_cuts
from mobilesplit.segment.fold import fold_batch_norms
from mobilesplit.segment.model_source import LoadedModel
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.trace import Graph, flat_tensors, spec_of, trace
from mobilesplit.segment.verify import max_relative_error

GOLDEN_INPUT = "golden_input.safetensors"
GOLDEN_OUTPUT = "golden_output.safetensors"
_HELD_OUT = 5
"""Every so many-th calibration input is kept to measure with instead."""

Inputs = tuple[tuple[Tensor, ...], ...]


@dataclass(frozen=True)
class ExportOutcome:
    """What ``export_model`` did."""

    bundle: Bundle
    """What lies at ``out`` now."""
    cached: bool
    """Whether it came from the cache."""


def export_model(
    loaded: LoadedModel,
    *,
    out: Path,
    settings: ExportSettings = ExportSettings(),
    graph: Graph | None = None,
    cache_root: Path | None = None,
    progress: Progress = lambda _: None,
) -> ExportOutcome:
    """Export ``loaded`` with its cuts as the bundle ``out``.

    Args:
        out: a free path, or a bundle, which is replaced.
        graph: its trace, where the caller has it already; None traces here.
        cache_root: where exported bundles are kept; None is ``cache.default_root()``.
        progress: told each step before it starts, in a few words.

    Raises:
        UsageError: a setting or ``out`` cannot be.
        ModelError: it cannot be traced or lowered, or does not compute the same as exported.
        BundleError: ``out`` cannot be written.
    """
    settings.check()
    check_target(out)
    if graph is None:
        progress(f"trace {loaded.name}")
        graph = trace(loaded.module, loaded.example_inputs)
    root = cache_root or cache.default_root()
    key = cache.key(graph, {**_facts(loaded), **settings.cache_key()})
    hit = cache.fetch(root, key, out)
    if hit is not None:
        return ExportOutcome(hit, cached=True)
    subject = _Subject.of(loaded, graph, settings)
    exported = _export(subject, settings, progress)
    progress("write the bundle")
    bundle = write_bundle(out, _manifest(subject, exported, settings), _files(subject, exported))
    cache.store(root, key, bundle)
    return ExportOutcome(bundle, cached=False)


def _facts(loaded: LoadedModel) -> dict[str, object]:
    """What of the model ends up in the manifest without being in its graph."""
    return {
        "model": loaded.name, "weights": loaded.weights, "labels": loaded.labels,
        "preprocess": loaded.preprocess,
        "assets": {name: file_sha256(path) for name, path in loaded.assets.items()},
    }  # fmt: skip


@dataclass(frozen=True)
class _Subject:
    """The model, traced, and what it returns."""

    loaded: LoadedModel
    traced: Graph
    graph: Graph
    """``traced`` with batch norms folded: what is cut."""
    calibration: Inputs | None
    """What to quantize with; None leaves the heads float."""
    reference: Reference

    @classmethod
    def of(cls, loaded: LoadedModel, traced: Graph, settings: ExportSettings) -> _Subject:
        with quiet():
            graph = fold_batch_norms(traced)
        calibration, measured = _split_calibration(settings.calibration)
        inputs = [traced.example_inputs, *measured]
        expected = [_run(loaded, one) for one in inputs]
        if any(tensor.isnan().any() for tensor in expected[0]):
            raise ModelError(
                f"{loaded.name} returns NaN for its example input: nothing can be compared.",
                next_step="Check the weights and example_inputs().",
            )
        again = max_relative_error(_run(loaded, inputs[0]), expected[0])
        if not again <= settings.tolerance:
            raise ModelError(
                f"{loaded.name} does not return the same for the same input (twice in a row).",
                next_step="Take what is random out of forward().",
            )
        reference = Reference(inputs, expected, settings.tolerance, settings.min_snr_db)
        return cls(loaded, traced, graph, calibration, reference)


def _run(loaded: LoadedModel, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What the original model, not its trace, returns."""
    with torch.no_grad():
        return flat_tensors(loaded.module(*(tensor.clone() for tensor in inputs)))


@dataclass(frozen=True)
class _Exported:
    """Everything that is to be written."""

    heads: CheckedHeads
    tails: stages.Tails
    left_out: dict[str, str]
    notices: tuple[str, ...]


def _export(subject: _Subject, settings: ExportSettings, progress: Progress) -> _Exported:
    found = search_cuts(
        subject.graph,
        max_cuts=settings.max_cuts,
        max_boundary_tensors=settings.max_boundary_tensors,
    )
    cuts = found.cuts
    left_out: dict[str, str] = {}
    with _kind(subject, cuts, settings, progress) as kind:
        wrong = dict(kind.left_out)
        while True:
            _give_up_on_ends(wrong, cuts, kind.way_out)
            left_out.update(wrong)
            cuts = _renumbered([cut for cut in cuts if cut.id not in wrong])
            progress(f"export the tails of {len(cuts)} cuts")
            with quiet():
                tails = stages.export_tails(
                    subject.loaded.module,
                    subject.traced,
                    subject.graph,
                    cuts,
                    tolerance=subject.reference.tolerance,
                )
            heads = kind.check(cuts, TailRunner(tails.programs), subject.reference, progress)
            wrong = heads.wrong
            if not wrong:
                break
            # The stages around a cut that is left out become one: the tails are made again.
    notices = [found.notice, tails.notice, *heads.notices]
    return _Exported(heads, tails, left_out, tuple(notice for notice in notices if notice))


def _kind(
    subject: _Subject, cuts: Sequence[Cut], settings: ExportSettings, progress: Progress
) -> HeadKind:
    # Not at the top: executorch takes seconds to import, and a cached bundle needs none.
    with quiet():
        if settings.format == "torchscript":
            from mobilesplit.export.torchscript_heads import TorchscriptHeads

            return TorchscriptHeads(subject.graph, cuts)
        from mobilesplit.export.executorch_heads import ExecutorchHeads

        return ExecutorchHeads(subject.graph, cuts, settings, subject.calibration, progress)


def _split_calibration(inputs: Inputs | None) -> tuple[Inputs | None, Inputs]:
    """Those to quantize with, and those held out to measure with (all, where they are few)."""
    if inputs is None:
        return None, ()
    if len(inputs) < _HELD_OUT:
        return inputs, inputs
    kept = tuple(one for index, one in enumerate(inputs) if index % _HELD_OUT)
    return kept, inputs[::_HELD_OUT]


def _give_up_on_ends(wrong: dict[str, str], cuts: Sequence[Cut], way_out: str) -> None:
    """Without ``input`` or ``output`` there is nothing to fall back to."""
    for cut_id, why in wrong.items():
        if cut_id in (cuts[0].id, cuts[-1].id):
            where = "on the device" if cut_id == OUTPUT else "in the cloud"
            if NO_KERNEL in why:
                way_out = "Take it out of forward(), and do its work behind the model."
            raise ModelError(
                f"The whole model does not hold {where}: {cut_id}: {why}.",
                next_step=way_out,
            )


def _renumbered(cuts: Sequence[Cut]) -> list[Cut]:
    return [cut.model_copy(update={"depth": depth}) for depth, cut in enumerate(cuts)]


def _manifest(subject: _Subject, exported: _Exported, settings: ExportSettings) -> Manifest:
    loaded = subject.loaded
    return Manifest(
        schema_=SCHEMA,
        model=loaded.name,
        weights=loaded.weights,
        format=settings.format,
        backend=settings.backend,
        ran_here=exported.heads.ran_here,
        quantization=exported.heads.quantization,
        program=exported.heads.program,
        stages=tuple(f"stages/{index:02}.pt2" for index in range(len(exported.tails.programs))),
        max_tail_batch=exported.tails.max_batch,
        cuts=exported.heads.entries,
        outputs=_specs(subject.graph.outputs),
        preprocess=loaded.preprocess,
        labels=loaded.labels,
        golden_input=GOLDEN_INPUT,
        golden_output=GOLDEN_OUTPUT,
        tolerance=subject.reference.tolerance,
        left_out=exported.left_out,
        notices=exported.notices,
        sha256={},
        versions=cache.versions(),
    )


def _specs(values: tuple[torch.fx.Node, ...]) -> tuple[TensorSpec, ...]:
    return tuple(spec for spec in map(spec_of, values) if spec is not None)


def _files(subject: _Subject, exported: _Exported) -> dict[str, Writer]:
    """Who writes each file of the bundle."""
    graph, expected = subject.graph, subject.reference.expected[0]
    inputs = {
        node.name: tensor for node, tensor in zip(graph.inputs, graph.example_inputs, strict=True)
    }
    outputs = {node.name: tensor for node, tensor in zip(graph.outputs, expected, strict=True)}
    files: dict[str, Writer] = {
        GOLDEN_INPUT: lambda path: path.write_bytes(save(_own_memory(inputs))),
        GOLDEN_OUTPUT: lambda path: path.write_bytes(save(_own_memory(outputs))),
        **exported.heads.files,
    }
    for index, program in enumerate(exported.tails.programs):
        files[f"stages/{index:02}.pt2"] = partial(stages.save_file, program)
    for name, source in subject.loaded.assets.items():
        files[name] = partial(copyfile, source)
    return files


def _own_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory or are not row-major."""
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
