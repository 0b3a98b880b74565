"""A user's own model: small enough to export in seconds, with a skip and a photo input."""

from __future__ import annotations

import torch
from torch import nn

from mobilesplit.core.manifest import ImageInput

WEIGHTS = "random"
DESCRIPTION = "three convolutions with a skip"
PREPROCESS = ImageInput(
    height=64, width=64, resize_shorter=72, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.block = nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 16, 3, stride=4, padding=1)
        self.classify = nn.Linear(16 * 8 * 8, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stem = self.stem(image).relu()
        block = self.block(stem).relu() + stem
        return self.classify(self.down(block).relu().flatten(1))


def build() -> nn.Module:
    torch.manual_seed(0)
    return Tiny().eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    return (torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)),)
