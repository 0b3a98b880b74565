"""Heads as TorchScript: a file each for the full runtime (``.pt``) and the lite one (``.ptl``).

The rule: a head is run from the bytes that will be in its file before it counts. While they are
being made all heads share the graph's weights; each file holds its own copy of its head's.

TorchScript is deprecated, and its mobile runtime has had no release since 2.1: these files are
for apps that carry it already. Its operators are torch's own, without XNNPACK.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.jit.mobile import _load_for_lite_interpreter

from mobilesplit.core.cuts import INPUT, Cut
from mobilesplit.core.errors import ModelError, first_line
from mobilesplit.export.bundle import Writer
from mobilesplit.segment import split
from mobilesplit.segment.quiet import quiet
from mobilesplit.segment.trace import Graph, flat_tensors

_Save = Callable[[torch.jit.ScriptModule], bytes]


@dataclass(frozen=True)
class ScriptedHead:
    """A head in TorchScript."""

    cut: Cut
    """Where it ends."""
    module: torch.jit.ScriptModule
    """The model's inputs in, ``cut.boundary`` out (a tuple); its weights are the graph's."""

    def files(self, stem: str) -> dict[str, Writer]:
        """``<stem>.pt`` and ``<stem>.ptl``, each with who writes it to the path it is given."""
        return {
            # Through memory: torch turns a full disk into a RuntimeError that does not say so.
            f"{stem}.pt": lambda path: path.write_bytes(_full_bytes(self.module)),
            f"{stem}.ptl": lambda path: path.write_bytes(_lite_bytes(self.module)),
        }

    def run_reloaded(self, inputs: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """The boundary as ``.pt`` in the full runtime gives it, then ``.ptl`` in the lite one.

        Raises:
            ModelError: one of the files does not load or run.
        """
        loaders: tuple[tuple[_Save, Callable[..., Any]], ...] = (
            (_full_bytes, partial(torch.jit.load, map_location="cpu")),
            (_lite_bytes, _load_for_lite_interpreter),
        )
        try:
            with quiet(), torch.no_grad():
                return [
                    flat_tensors(load(io.BytesIO(save(self.module)))(*_copies(inputs)))
                    for save, load in loaders
                ]
        except RuntimeError as error:
            raise _not_scriptable(self.cut, error) from error


def script_heads(
    graph: Graph, cuts: Sequence[Cut]
) -> tuple[list[ScriptedHead], list[tuple[str, str]]]:
    """The heads of every cut but ``input``; and the ids of those that TorchScript cannot hold,
    with why."""
    scripted: list[ScriptedHead] = []
    dropped: list[tuple[str, str]] = []
    for cut in cuts:
        if cut.id != INPUT:
            try:
                scripted.append(script_head(graph, cut))
            except ModelError as error:
                dropped.append((cut.id, error.what))
    return scripted, dropped


def script_head(graph: Graph, cut: Cut) -> ScriptedHead:
    """The head of one cut of ``graph``, traced at the shapes of its example inputs.

    Raises:
        ModelError: TorchScript cannot trace it.
    """
    head = split.head(graph, cut)
    try:
        with quiet(), torch.no_grad():
            # The trace is checked against the head by who calls run_reloaded, on real bytes.
            module = cast(Any, torch.jit).trace(
                head, _copies(graph.example_inputs), check_trace=False
            )
    except (RuntimeError, TypeError, ValueError) as error:
        raise _not_scriptable(cut, error) from error
    return ScriptedHead(cut, module)


def _full_bytes(module: torch.jit.ScriptModule) -> bytes:
    buffer = io.BytesIO()
    with quiet():
        torch.jit.save(module, buffer)
    return buffer.getvalue()


def _lite_bytes(module: Any) -> bytes:
    with quiet():
        return bytes(module._save_to_buffer_for_lite_interpreter())


def _copies(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.clone() for tensor in inputs)


def _not_scriptable(cut: Cut, error: Exception) -> ModelError:
    reason = first_line(str(error)) or type(error).__name__
    return ModelError(
        f"TorchScript cannot hold the head of {cut.id}: {reason}.",
        next_step="Use --format executorch.",
    )
