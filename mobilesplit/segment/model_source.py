"""Names and references to loaded models.

The rule: torch is not imported here; only building a model does, so listing models is cheap.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from mobilesplit.core.errors import ModelError, UnknownNameError, UsageError
from mobilesplit.core.manifest import ImageInput
from mobilesplit.resources import named_files

if TYPE_CHECKING:
    from torch import Tensor, nn

_OWN_MODEL = (
    "Write PATH.py:FUNCTION or PACKAGE.MODULE:FUNCTION; FUNCTION() returns the model, and "
    "example_inputs() of the same module a tuple of tensors."
)


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be traced."""

    name: str
    """Name in models/, or the reference it was loaded by."""
    module: nn.Module
    """In eval mode."""
    example_inputs: tuple[Tensor, ...]
    """Batch 1, contiguous; also the golden input of its bundle."""
    weights: str
    """``real: <where from>`` or ``random``; ``unstated`` if its file does not say."""
    preprocess: ImageInput | None
    """How a photo becomes the input; None for a model that takes tensors only."""
    labels: Literal["imagenet-1k"] | None
    """Which class names its output has."""
    description: str
    """One line for people."""


def known_models() -> dict[str, Path]:
    """The files of models/ by the names people type (``efficientnet-lite0``)."""
    return {stem.replace("_", "-"): path for stem, path in named_files("models", ".py").items()}


def describe_model(name: str) -> str:
    """The one-line description of a known model, without building it.

    Raises:
        UnknownNameError: listing the known models.
    """
    return str(getattr(_import_file(_find(name)), "DESCRIPTION", ""))


def load_model(name_or_ref: str) -> LoadedModel:
    """Build a known model, or ``PATH.py:FUNCTION``, or ``PACKAGE.MODULE:FUNCTION``.

    Raises:
        UnknownNameError: no such model, listing the known ones.
        UsageError: the reference names no file, module or function.
        ModelError: building it failed, or what it built is not a model with tensor inputs.
    """
    place, colon, function = name_or_ref.rpartition(":")
    if not colon:
        source, function = _import_file(_find(name_or_ref)), "build"
    elif place.endswith(".py"):
        source = _import_file(Path(place).expanduser())
    else:
        source = _import_module(place)
    for needed in (function, "example_inputs"):
        if not callable(getattr(source, needed, None)):
            raise UsageError(
                f"{name_or_ref}: there is no function {needed}().", next_step=_OWN_MODEL
            )
    module, inputs = _build(name_or_ref, source, function)
    return LoadedModel(
        name=name_or_ref,
        module=module,
        example_inputs=inputs,
        weights=str(getattr(source, "WEIGHTS", "unstated")),
        preprocess=getattr(source, "PREPROCESS", None),
        labels=getattr(source, "LABELS", None),
        description=str(getattr(source, "DESCRIPTION", "")),
    )


def _find(name: str) -> Path:
    models = known_models()
    if name not in models:
        raise UnknownNameError("model", name, models)
    return models[name]


def _import_file(path: Path) -> ModuleType:
    """The module of a file, under a name that cannot meet another module's."""
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", next_step=_OWN_MODEL)
    name = f"_mobilesplit_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{path}: {_said(error)}.", next_step="Mend the file.") from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"There is no module {error.name}.", next_step=_OWN_MODEL) from None
    except Exception as error:
        raise ModelError(f"{name}: {_said(error)}.", next_step="Mend the module.") from error


def _build(
    reference: str, source: ModuleType, function: str
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    from torch import Tensor, nn

    try:
        module: Any = getattr(source, function)()
        inputs: Any = source.example_inputs()
    except Exception as error:
        raise ModelError(
            f"{reference}: building it failed: {_said(error)}.",
            next_step="Run its functions in Python to see where.",
        ) from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{reference}: {function}() returned no nn.Module.", next_step=_OWN_MODEL)
    if (
        not isinstance(inputs, tuple)
        or not inputs
        or not all(isinstance(tensor, Tensor) for tensor in inputs)
    ):
        raise ModelError(
            f"{reference}: example_inputs() returned no tuple of tensors.", next_step=_OWN_MODEL
        )
    return module.eval(), tuple(tensor.contiguous() for tensor in inputs)


def _said(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}".rstrip(".") if text else type(error).__name__
