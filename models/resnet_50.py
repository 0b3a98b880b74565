"""ResNet-50 of He et al., "Deep Residual Learning for Image Recognition" (arXiv:1512.03385), built
from a configuration.

Listing models reads the constants only, so torch is imported inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilesplit.core.manifest import ImageInput

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

DESCRIPTION = "ResNet-50: bottleneck blocks with skip connections"
PARAMETERS = 25_557_032
GFLOP = 8.18
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


def build(weights: Path | None = None) -> nn.Module:
    """The model in eval mode: 1 x 3 x 224 x 224 in, 1 x 1000 logits out."""
    from transformers.models.resnet.configuration_resnet import ResNetConfig
    from transformers.models.resnet.modeling_resnet import ResNetForImageClassification

    from mobilesplit.segment.weights import RESIDUAL, Logits, transformer

    config = ResNetConfig(num_labels=1000)
    return Logits(transformer(ResNetForImageClassification, config, weights, gain=RESIDUAL))


def example_inputs() -> tuple[Tensor, ...]:
    """One image of seeded noise, 1 x 3 x 224 x 224."""
    from mobilesplit.segment.examples import noise_photo

    return noise_photo(PREPROCESS)
