"""Weights of the models in models/: from a local file or folder, or random but always the same.

The rule: weights are read from safetensors only. A pickle (.bin, .pt, .pth) can run any code when
it is opened, and is refused.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mobilesplit.core.errors import InputFileError

_Module = TypeVar("_Module", bound=nn.Module)

CHAIN, RESIDUAL = math.sqrt(2), 1.0
"""Gains of random convolutions that keep the scale through ReLUs in a row, and through sums."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NEXT_STEP = "Give a .safetensors file, or a folder with model.safetensors, of this very model."
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class Logits(nn.Module):
    """A transformers classifier whose output is its logits alone, from class ``first`` on."""

    def __init__(self, model: nn.Module, first: int = 0) -> None:
        super().__init__()
        self._model = model
        self._first = first

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, classes)."""
        logits: Tensor = self._model(image).logits
        return logits[:, self._first :] if self._first else logits


def seeded(make: Callable[[], _Module], gain: float = CHAIN) -> _Module:
    """What ``make`` builds, with weights drawn from seed 0; torch's generator is left as it was.

    Convolutions are drawn anew, with a deviation of ``gain`` / sqrt(fan-in), so that outputs are
    of about unit scale. Initialisers made for training leave that to the batch norms, which in
    eval mode do nothing about it: MobileNetV2's logits come out as 1e-22, and those of any wrong
    head would be equal.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=gain / math.sqrt(module.weight[0].numel()))
    return model


def network(make: Callable[[], _Module], weights: Path | None) -> _Module:
    """The network that ``make`` builds, with the state of ``weights``; None is `seeded`.

    Raises:
        InputFileError: the weights cannot be read, or are not of this network.
    """
    module = seeded(make)
    if weights is not None:
        state = read_weights(weights)
        own = module.state_dict()
        _check_keys(weights, own.keys() - state.keys(), state.keys() - own.keys())
        wrong = {k: (v.shape, own[k].shape) for k, v in state.items() if v.shape != own[k].shape}
        _check_shapes(weights, wrong)
        _check_values(weights, state, module)
        module.load_state_dict(state)
    return module.eval()


def transformer(
    model_class: Any, config: Any, weights: Path | None, *, gain: float = CHAIN
) -> nn.Module:
    """A transformers model of ``config`` with the state of ``weights``; None is `seeded`.

    Names of older checkpoints are translated as transformers' own ``from_pretrained`` does.

    Args:
        model_class: a ``PreTrainedModel``.
        config: its configuration; what a folder's config.json says plays no part.
        gain: of random weights.

    Raises:
        InputFileError: the weights cannot be read, or are not of this model.
    """
    module: nn.Module
    if weights is None:
        module = seeded(lambda: model_class(config), gain)
        return module.eval()
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    state = read_weights(weights)
    module, loading = model_class.from_pretrained(
        None,
        config=config,
        state_dict=state,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, in one line
    )
    _check_keys(weights, loading["missing_keys"], loading["unexpected_keys"])
    _check_shapes(
        weights, {key: (came, wanted) for key, came, wanted in loading["mismatched_keys"]}
    )
    _check_values(weights, state, module)
    return module.float().eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state of a .safetensors file, or of a folder as transformers saves it.

    Raises:
        InputFileError: missing, damaged, or a pickle.
    """
    return _read_folder(path) if path.is_dir() else _read_file(path)


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix in _PICKLES:
        raise _refuse(path, "a pickle, which can run any code when it is opened, is not read")
    if not path.exists():
        raise _refuse(path, "there is no such file or folder")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _refuse(path, f"is no safetensors file ({str(error).rstrip('.')})") from None


def _read_folder(folder: Path) -> dict[str, Tensor]:
    if (folder / _WHOLE).is_file():
        return _read_file(folder / _WHOLE)
    if (folder / _INDEX).is_file():
        try:
            names = set(json.loads((folder / _INDEX).read_bytes())["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            raise _refuse(folder / _INDEX, "is no index of safetensors files") from None
        state: dict[str, Tensor] = {}
        for name in sorted(map(str, names)):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise _refuse(folder / _INDEX, f"names {name!r}, no safetensors file beside it")
            state |= _read_file(folder / name)
        return state
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        return _read_file(folder / pickles[0])
    raise _refuse(folder, f"has no {_WHOLE}")


def _check_keys(path: Path, missing: Collection[str], unexpected: Collection[str]) -> None:
    if missing:
        raise _refuse(path, f"lacks {min(missing)!r}{_and_more(missing)}")
    if unexpected:
        raise _refuse(path, f"has {min(unexpected)!r}{_and_more(unexpected)}, this model has not")


def _check_shapes(path: Path, wrong: Mapping[str, tuple[Any, Any]]) -> None:
    """``wrong``: by key the shape that came and the model's own."""
    if wrong:
        key = min(wrong)
        came, wanted = (list(shape) for shape in wrong[key])
        raise _refuse(path, f"{key!r}{_and_more(wrong)} is {came}, in this model {wanted}")


def _check_values(path: Path, state: Mapping[str, Tensor], module: nn.Module) -> None:
    """Floats where ``module`` has floats, which torch would not insist on; and finite ones.

    By the last part of a key, which is the same in checkpoints whose modules have older names.
    """
    own = itertools.chain(module.named_parameters(), module.named_buffers())
    integers = {key.rpartition(".")[2] for key, tensor in own if not tensor.is_floating_point()}
    for key in sorted(state):
        tensor = state[key]
        if tensor.is_floating_point() == (key.rpartition(".")[2] in integers):
            wanted = "integers" if tensor.is_floating_point() else "floats"
            raise _refuse(path, f"{key!r} is {tensor.dtype}, in this model {wanted}")
        # Not every kind of 8 bits has an isfinite.
        if not (tensor.float() if tensor.itemsize == 1 else tensor).isfinite().all():
            raise _refuse(path, f"{key!r} has infinite values or NaN")


def _and_more(keys: Collection[str]) -> str:
    return f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""


def _refuse(path: Path, why: str) -> InputFileError:
    return InputFileError(str(path), why, next_step=_NEXT_STEP)
