"""A U-Net after Ronneberger et al. (arXiv:1505.04597): an image in, a mask of the same size out.
Skips from the way down to the way up make several tensors cross almost every cut.

It differs from the paper's in size (four levels from 32 channels on) and in padded convolutions
with batch norms.

Listing models reads the constants only, so torch is imported inside the functions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from mobilesplit.core.manifest import ImageInput

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

DESCRIPTION = "U-Net: segmentation, skips across the model, boundaries of several tensors"
PARAMETERS = 1_927_042
GFLOP = 18.44
WEIGHTS = "random"
LABELS = None
PREPROCESS = ImageInput(
    height=256,
    width=256,
    resize_shorter=256,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)

_WIDTHS = (32, 64, 128, 256)
"""Channels by level; each has half the rows and columns of the one before."""
_CLASSES = 2
"""Of a pixel: background and object, as in the paper."""


def build(weights: Path | None = None) -> nn.Module:
    """The model in eval mode: 1 x 3 x 256 x 256 in, 1 x 2 x 256 x 256 mask logits out."""
    from mobilesplit.segment.weights import network

    return network(_network, weights)


def example_inputs() -> tuple[Tensor, ...]:
    """One image of seeded noise, 1 x 3 x 256 x 256."""
    from mobilesplit.segment.examples import noise_photo

    return noise_photo(PREPROCESS)


def _network() -> nn.Module:
    import torch
    from torch import nn

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(2)
            self.down = nn.ModuleList(map(_two_convolutions, (3, *_WIDTHS), _WIDTHS))
            pairs = list(pairwise(_WIDTHS))[::-1]
            self.enlarge = nn.ModuleList(
                nn.ConvTranspose2d(deep, shallow, 2, stride=2) for shallow, deep in pairs
            )
            self.up = nn.ModuleList(_two_convolutions(2 * shallow, shallow) for shallow, _ in pairs)
            self.classify = nn.Conv2d(_WIDTHS[0], _CLASSES, 1)

        def forward(self, image: Tensor) -> Tensor:
            x = self.down[0](image)
            skips = []
            for level in self.down[1:]:
                skips.append(x)
                x = level(self.pool(x))
            for enlarge, level in zip(self.enlarge, self.up, strict=True):
                x = level(torch.cat((skips.pop(), enlarge(x)), 1))
            mask: Tensor = self.classify(x)
            return mask

    return UNet()


def _two_convolutions(channels: int, width: int) -> nn.Module:
    """(B, channels, H, W) to (B, width, H, W)."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
