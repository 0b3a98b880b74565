"""RegNetY-4.0GF, of the family that the paper cuts; architecture of Radosavovic et al.,
"Designing Network Design Spaces" (arXiv:2003.13678), built from a configuration.

Listing models reads the constants only, so torch is imported inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilesplit.core.manifest import ImageInput

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

DESCRIPTION = "RegNetY-4.0GF, the paper's family: residual blocks with squeeze-and-excitation"
PARAMETERS = 20_646_656
GFLOP = 7.95
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
    from transformers.models.regnet.configuration_regnet import RegNetConfig
    from transformers.models.regnet.modeling_regnet import RegNetForImageClassification

    from mobilesplit.segment.weights import RESIDUAL, Logits, transformer

    config = RegNetConfig(
        num_labels=1000,
        embedding_size=32,
        depths=[2, 6, 12, 2],
        hidden_sizes=[128, 192, 512, 1088],
        groups_width=64,
        layer_type="y",
    )
    return Logits(transformer(RegNetForImageClassification, config, weights, gain=RESIDUAL))


def example_inputs() -> tuple[Tensor, ...]:
    """One image of seeded noise, 1 x 3 x 224 x 224."""
    from mobilesplit.segment.examples import noise_photo

    return noise_photo(PREPROCESS)
