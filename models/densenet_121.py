"""DenseNet-121 of Huang et al., "Densely Connected Convolutional Networks" (arXiv:1608.06993):
every layer of a block reads the outputs of all layers before it, so many tensors cross a cut.

Weights are named as in torchvision's checkpoints. Listing models reads the constants only, so
torch is imported inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilesplit.core.manifest import ImageInput

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

DESCRIPTION = "DenseNet-121: dense connections, boundaries of several tensors"
PARAMETERS = 7_978_856
GFLOP = 5.67
WEIGHTS = "random"
LABELS = "imagenet-1k"
# As the published checkpoints were trained (ImageNet's mean and standard deviation).
PREPROCESS = ImageInput(
    height=224,
    width=224,
    resize_shorter=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

_STEM, _GROWTH, _BOTTLENECK = 64, 32, 128
_LAYERS = (6, 12, 24, 16)
"""Of the four blocks (table 1 of the paper)."""


def build(weights: Path | None = None) -> nn.Module:
    """The model in eval mode: 1 x 3 x 224 x 224 in, 1 x 1000 logits out."""
    from mobilesplit.segment.weights import network

    return network(_network, weights)


def example_inputs() -> tuple[Tensor, ...]:
    """One image of seeded noise, 1 x 3 x 224 x 224."""
    from mobilesplit.segment.examples import noise_photo

    return noise_photo(PREPROCESS)


def _network() -> nn.Module:
    from torch import nn

    features: dict[str, nn.Module] = {
        "conv0": nn.Conv2d(3, _STEM, 7, stride=2, padding=3, bias=False),
        "norm0": nn.BatchNorm2d(_STEM),
        "relu0": nn.ReLU(),
        "pool0": nn.MaxPool2d(3, stride=2, padding=1),
    }
    channels = _STEM
    for number, num_layers in enumerate(_LAYERS, start=1):
        features[f"denseblock{number}"] = _dense_block(channels, num_layers)
        channels += num_layers * _GROWTH
        if number < len(_LAYERS):
            features[f"transition{number}"] = _sequence(
                norm=nn.BatchNorm2d(channels),
                relu=nn.ReLU(),
                conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                pool=nn.AvgPool2d(2),
            )
            channels //= 2
    features["norm5"] = nn.BatchNorm2d(channels)
    return _sequence(
        features=_sequence(**features),
        relu=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        classifier=nn.Linear(channels, 1000),
    )


def _dense_block(channels: int, num_layers: int) -> nn.Module:
    """(B, C, H, W) to (B, C + num_layers * growth, H, W)."""
    import torch
    from torch import nn

    class DenseBlock(nn.ModuleDict):
        def forward(self, x: Tensor) -> Tensor:
            outputs = [x]
            for layer in self.values():
                outputs.append(layer(torch.cat(outputs, 1)))
            return torch.cat(outputs, 1)

    return DenseBlock({
        f"denselayer{index + 1}": _dense_layer(channels + index * _GROWTH)
        for index in range(num_layers)
    })  # fmt: skip


def _dense_layer(channels: int) -> nn.Module:
    from torch import nn

    return _sequence(
        norm1=nn.BatchNorm2d(channels),
        relu1=nn.ReLU(),
        conv1=nn.Conv2d(channels, _BOTTLENECK, 1, bias=False),
        norm2=nn.BatchNorm2d(_BOTTLENECK),
        relu2=nn.ReLU(),
        conv2=nn.Conv2d(_BOTTLENECK, _GROWTH, 3, padding=1, bias=False),
    )


def _sequence(**parts: nn.Module) -> nn.Module:
    from collections import OrderedDict

    from torch import nn

    return nn.Sequential(OrderedDict(parts))
