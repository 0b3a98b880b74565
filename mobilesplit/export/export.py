"""A model to a verified bundle: trace, cut, split, lower, run, compare, write.

The rule: every head was run by ExecuTorch and its tail by torch, and what came out was compared
to the original model, before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save
from torch import Tensor
from torch.export import ExportedProgram

from mobilesplit.core.cuts import OUTPUT, Cut
from mobilesplit.core.errors import ModelError, UnknownNameError, UsageError
from mobilesplit.core.manifest import SCHEMA, Bundle, BundleCut, Manifest
from mobilesplit.core.tensors import TensorSpec
from mobilesplit.export import cache, stages
from mobilesplit.export.bundle import check_target, write_bundle
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.fold import fold_batch_norms
from mobilesplit.segment.model_source import LoadedModel
from mobilesplit.segment.quiet import quiet, quiet_native
from mobilesplit.segment.trace import Graph, flat_tensors, spec_of, trace
from mobilesplit.segment.verify import max_abs_error, verify

PROGRAM = "heads.pte"
GOLDEN_INPUT = "golden_input.safetensors"
GOLDEN_OUTPUT = "golden_output.safetensors"
_BACKENDS = ("xnnpack", "portable")


@dataclass(frozen=True)
class ExportOutcome:
    """What ``export_model`` did."""

    bundle: Bundle
    """What lies at ``out`` now."""
    cached: bool
    """Whether it came from the cache."""
    dropped: list[tuple[str, str]]
    """Ids of cuts that were left out, each with why. Empty for a cached bundle."""


def export_model(
    loaded: LoadedModel,
    *,
    out: Path,
    graph: Graph | None = None,
    max_cuts: int = 10,
    backend: Literal["xnnpack", "portable"] = "xnnpack",
    tolerance: float = 1e-3,
    cache_root: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> ExportOutcome:
    """Export ``loaded`` with its cuts as the bundle ``out``.

    Args:
        out: a free path, or a bundle, which is replaced.
        graph: its trace, where the caller has it already; None traces here.
        max_cuts: ``input`` and ``output`` included.
        backend: what the heads delegate to.
        tolerance: largest absolute difference to the original model that a cut may have.
        cache_root: where exported bundles are kept; None is ``cache.default_root()``.
        progress: told each step before it starts, in a few words.

    Raises:
        UsageError: a setting or ``out`` cannot be.
        ModelError: it cannot be traced, or does not compute the same on the device as here.
        BundleError: ``out`` cannot be written.
    """
    _check_settings(max_cuts, backend, tolerance)
    check_target(out)
    if graph is None:
        progress(f"trace {loaded.name}")
        graph = trace(loaded.module, loaded.example_inputs)
    root = cache_root or cache.default_root()
    settings = {
        "model": loaded.name, "weights": loaded.weights, "labels": loaded.labels,
        "preprocess": loaded.preprocess, "max_cuts": max_cuts, "backend": backend,
        "tolerance": tolerance,
    }  # fmt: skip
    key = cache.key(graph, settings)
    hit = cache.fetch(root, key, out)
    if hit is not None:
        return ExportOutcome(hit, cached=True, dropped=[])

    expected = _expected(loaded)
    with quiet():
        graph = fold_batch_norms(graph)
    cuts, dropped = _cuts_that_hold(graph, max_cuts, tolerance, progress)
    while True:
        with quiet():
            programs = stages.export_stages(graph, cuts)
        pte, methods = _lower(programs, cuts, backend, progress)
        progress(f"run {len(methods)} heads and compare")
        errors = _errors(pte, methods, programs, graph.example_inputs, expected)
        wrong = [
            (cut.id, f"differs by {error:.3g} on the device")
            for cut, error in zip(cuts, errors, strict=True)
            if not error <= tolerance
        ]
        if not wrong:
            break
        _give_up_on_ends(wrong, cuts, tolerance)
        # The stages around a cut that is left out become one: lower again.
        dropped += wrong
        bad = {cut_id for cut_id, _ in wrong}
        cuts = _renumbered([cut for cut in cuts if cut.id not in bad])

    progress("write the bundle")
    entries = zip(cuts, [None, *methods], errors, strict=True)
    manifest = Manifest(
        schema_=SCHEMA,
        model=loaded.name,
        weights=loaded.weights,
        backend=backend,
        program=PROGRAM,
        stages=tuple(f"stages/{index:02}.pt2" for index in range(len(programs))),
        cuts=tuple(
            BundleCut(cut=cut, method=method, first_stage=index, max_abs_error=error)
            for index, (cut, method, error) in enumerate(entries)
        ),
        outputs=_specs(graph.outputs),
        preprocess=loaded.preprocess,
        labels=loaded.labels,
        golden_input=GOLDEN_INPUT,
        golden_output=GOLDEN_OUTPUT,
        tolerance=tolerance,
        sha256={},
        versions=cache.versions(),
    )
    bundle = write_bundle(out, manifest, _files(manifest, pte, programs, graph, expected))
    cache.store(root, key, bundle)
    return ExportOutcome(bundle, cached=False, dropped=dropped)


def _check_settings(max_cuts: int, backend: str, tolerance: float) -> None:
    if max_cuts < 2:
        raise UsageError(
            f"At most {max_cuts} cuts are too few.",
            next_step="Two are always there: input, output.",
        )
    if not 0 < tolerance < math.inf:
        raise UsageError(f"A tolerance of {tolerance:g} cannot be.", next_step="Try 1e-3.")
    if backend not in _BACKENDS:
        raise UnknownNameError("backend", backend, _BACKENDS)


def _expected(loaded: LoadedModel) -> tuple[Tensor, ...]:
    """What the original model, not its trace, returns for the example inputs."""
    with torch.no_grad():
        return flat_tensors(loaded.module(*(tensor.clone() for tensor in loaded.example_inputs)))


def _cuts_that_hold(
    graph: Graph, max_cuts: int, tolerance: float, progress: Callable[[str], None]
) -> tuple[list[Cut], list[tuple[str, str]]]:
    """The cuts whose head and tail give the whole here, and those that do not."""
    cuts = find_cuts(graph, max_cuts=max_cuts)
    progress(f"verify {len(cuts)} cuts")
    errors = verify(graph, cuts)
    wrong = [
        (cut.id, f"head then tail differ by {errors[cut.id]:.3g} from the whole")
        for cut in cuts
        if not errors[cut.id] <= tolerance
    ]
    _give_up_on_ends(wrong, cuts, tolerance)
    bad = {cut_id for cut_id, _ in wrong}
    return _renumbered([cut for cut in cuts if cut.id not in bad]), wrong


def _give_up_on_ends(wrong: list[tuple[str, str]], cuts: list[Cut], tolerance: float) -> None:
    """Without ``input`` or ``output`` there is nothing to fall back to."""
    for cut_id, why in wrong:
        if cut_id in (cuts[0].id, cuts[-1].id):
            where = "on the device" if cut_id == OUTPUT else "after tracing"
            raise ModelError(
                f"The whole model does not compute the same {where}: the cut {cut_id} {why} "
                f"(tolerance {tolerance:g}).",
                next_step="Try --backend portable.",
            )


def _renumbered(cuts: list[Cut]) -> list[Cut]:
    return [cut.model_copy(update={"depth": depth}) for depth, cut in enumerate(cuts)]


def _lower(
    programs: list[ExportedProgram],
    cuts: list[Cut],
    backend: Literal["xnnpack", "portable"],
    progress: Callable[[str], None],
) -> tuple[bytes, list[str]]:
    progress(f"lower {len(programs)} stages for {backend}")
    with quiet():
        # Not at the top: executorch takes seconds to import, and a cached bundle needs none.
        from mobilesplit.export.programs import compile_heads, method_names

        methods = method_names(cut.id for cut in cuts[1:])
        return compile_heads(programs, methods, backend), methods


def _errors(
    pte: bytes,
    methods: list[str],
    programs: list[ExportedProgram],
    inputs: tuple[Tensor, ...],
    expected: tuple[Tensor, ...],
) -> list[float]:
    """Largest difference to ``expected`` of each cut: head by ExecuTorch, tail by torch."""
    errors = [max_abs_error(stages.run_stages(programs, inputs), expected)]
    with quiet_native():
        from executorch.runtime import Runtime

        heads = Runtime.get().load_program(pte)
        for index, method in enumerate(methods):
            boundary = heads.load_method(method).execute([tensor.clone() for tensor in inputs])
            outputs = stages.run_stages(programs[index + 1 :], tuple(boundary))
            errors.append(max_abs_error(outputs, expected))
    return errors


def _specs(values: tuple[torch.fx.Node, ...]) -> tuple[TensorSpec, ...]:
    return tuple(spec for spec in map(spec_of, values) if spec is not None)


def _files(
    manifest: Manifest,
    pte: bytes,
    programs: list[ExportedProgram],
    graph: Graph,
    expected: tuple[Tensor, ...],
) -> dict[str, Callable[[Path], None]]:
    """Who writes each file of the bundle."""
    inputs = {
        node.name: tensor for node, tensor in zip(graph.inputs, graph.example_inputs, strict=True)
    }
    outputs = {node.name: tensor for node, tensor in zip(graph.outputs, expected, strict=True)}
    files: dict[str, Callable[[Path], None]] = {
        PROGRAM: lambda path: _write(path, pte),
        GOLDEN_INPUT: lambda path: _write(path, save(_own_memory(inputs))),
        GOLDEN_OUTPUT: lambda path: _write(path, save(_own_memory(outputs))),
    }
    for name, program in zip(manifest.stages, programs, strict=True):
        files[name] = partial(stages.save_file, program)
    return files


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _own_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory or are not row-major."""
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
