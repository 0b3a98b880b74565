"""Tiny networks that the export tests share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilesplit.segment.model_source import LoadedModel


class SkipNet(nn.Module):
    """``sin`` is not XNNPACK's: a head has delegates and portable operators in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 3, padding=1)
        self.classify = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = self.right(torch.sin(self.left(x))) + x
        return self.classify(x.mean((2, 3)))


class Crossing(nn.Module):
    """The input is needed behind every cut, so each head hands it through, and a table is added."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("table", torch.arange(4.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.sin(self.one(x)) + self.table) * x


class Branches(nn.Module):
    """Two branches that no cut orders: a partition could take operators of both stages."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        self.right = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


def loaded(module: nn.Module, inputs: tuple[Tensor, ...], name: str = "skip-net") -> LoadedModel:
    return LoadedModel(
        name=name,
        module=module.eval(),
        example_inputs=inputs,
        weights="random",
        preprocess=None,
        labels=None,
        description="",
    )


def skip_net() -> LoadedModel:
    torch.manual_seed(0)
    return loaded(SkipNet(), (torch.randn(1, 3, 32, 32),))
