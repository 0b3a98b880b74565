"""Why torch.export does not take a model: torch's reason, where in the model, and what to do.

The rule: one line in the user's terms. Torch's own account runs to dozens, most of them about
torch.
"""

from __future__ import annotations

import inspect
import re
import sysconfig
import traceback
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)

from mobilesplit.core.errors import ModelError
from mobilesplit.segment.quiet import quiet

_NOT_THE_MODELS = (
    str(Path(torch.__file__).parent),
    str(Path(__file__).parent),
    sysconfig.get_path("stdlib"),
    "<",
)
"""Where the code of a traceback is that the author of a model did not write."""


def refusal(error: Exception, module: nn.Module, inputs: tuple[Tensor, ...]) -> ModelError:
    """What to raise for ``error``, which torch.export raised for ``module`` at ``inputs``."""
    said = f"{_reason(error)} ({_where(error, module)})."
    if _depends_on_data(error):
        return ModelError(
            f"torch.export does not take this model, what it runs depends on its data: {said}",
            next_step="Write that with torch.where or torch.cond, or take the value as an input.",
        )
    if not _runs(module, inputs):
        return ModelError(
            f"The model does not run on its example inputs: {said}",
            next_step="Make forward() and example_inputs() fit each other.",
        )
    return ModelError(
        f"torch.export does not take this model: {said}",
        next_step="Write that with operators of torch; torch.export.draft_export(model, inputs) "
        "lists every such place.",
    )


def _reason(error: Exception) -> str:
    """The first sentence of torch's message that says something, without its period."""
    lines = (line.strip() for line in str(error).splitlines())
    said = next((line for line in lines if line and not line.startswith(("File ", "Trace"))), "")
    said = re.sub(r"\s*\(unhinted: .*", "", said)  # the same expression once more
    return (said.split(". ")[0] or type(error).__name__)[:300].rstrip(".")


def _where(error: Exception, module: nn.Module) -> str:
    """``FILE:LINE in forward: `source` ``, as deep in the model's own code as the error was."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_NOT_THE_MODELS)
    ]
    if frames:
        frame = frames[-1]
        return f"{frame.filename}:{frame.lineno} in {frame.name}: `{frame.line}`"
    forward = type(module).forward
    if not inspect.isfunction(forward):  # a module that torch made
        return f"in {type(module).__name__}"
    forward = inspect.unwrap(forward)
    return f"{forward.__code__.co_filename}:{forward.__code__.co_firstlineno} in forward"


def _depends_on_data(error: Exception) -> bool:
    kinds = (DataDependentOutputException, DynamicOutputShapeException)
    return isinstance(error, kinds) or "data-dependent" in str(error)


def _runs(module: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether the model as it is computes anything at all."""
    try:
        with quiet(errors=True), torch.no_grad():
            module(*(tensor.clone() for tensor in inputs))
    except Exception:
        return False
    return True
