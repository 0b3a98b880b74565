"""MobileNetV2 of Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks"
(arXiv:1801.04381), built from a configuration.

Listing models reads the constants only, so torch is imported inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilesplit.core.manifest import ImageInput

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

DESCRIPTION = "MobileNetV2: made for phones, inverted residuals"
PARAMETERS = 3_506_153
GFLOP = 0.60
WEIGHTS = "random"
LABELS = "imagenet-1k"
# As the published checkpoints were trained.
PREPROCESS = ImageInput(
    height=224,
    width=224,
    resize_shorter=256,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def build(weights: Path | None = None) -> nn.Module:
    """The model in eval mode: 1 x 3 x 224 x 224 in, 1 x 1000 logits out."""
    from transformers.models.mobilenet_v2.configuration_mobilenet_v2 import MobileNetV2Config
    from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import (
        MobileNetV2ForImageClassification,
    )

    from mobilesplit.segment.weights import Logits, transformer

    # The published checkpoints have a class 0, "background", in front of ImageNet's thousand.
    config = MobileNetV2Config(num_labels=1001)
    return Logits(transformer(MobileNetV2ForImageClassification, config, weights), first=1)


def example_inputs() -> tuple[Tensor, ...]:
    """One image of seeded noise, 1 x 3 x 224 x 224."""
    from mobilesplit.segment.examples import noise_photo

    return noise_photo(PREPROCESS)
