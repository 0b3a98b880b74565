"""Small relatives of models/unet.py and models/densenet_121.py: the same code builds them, with
fewer levels, layers and channels. They take tensors only, so they run on their golden input."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import torch
from torch import nn

from mobilesplit.resources import named_files


def unet() -> nn.Module:
    """Three levels from 8 channels on; the one of models/ has four from 32 on."""
    model: nn.Module = _source("unet", _WIDTHS=(8, 16, 32)).build()
    return model


def densenet() -> nn.Module:
    """Two blocks that grow by 8 channels a layer; the one of models/ has four, and 32."""
    sizes = {"_STEM": 16, "_GROWTH": 8, "_BOTTLENECK": 16, "_LAYERS": (2, 3)}
    model: nn.Module = _source("densenet_121", **sizes).build()
    return model


def example_inputs() -> tuple[torch.Tensor, ...]:
    return (torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)),)


def _source(stem: str, **constants: object) -> ModuleType:
    """The module of a file in models/ with other ``constants``."""
    spec = importlib.util.spec_from_file_location(
        f"small_{stem}", named_files("models", ".py")[stem]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in constants.items():
        assert hasattr(module, name), name
        setattr(module, name, value)
    return module
