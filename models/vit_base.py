"""ViT-B/16 of Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv:2010.11929), built from a
configuration.

Listing models reads the constants only, so torch is imported inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilesplit.core.manifest import ImageInput

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

DESCRIPTION = "ViT-B/16: a vision transformer of 12 layers, boundaries of equal size"
PARAMETERS = 86_567_656
GFLOP = 35.13
WEIGHTS = "random"
LABELS = "imagenet-1k"
# As the published checkpoints were trained: the whole photo's shorter side, not a window of it.
PREPROCESS = ImageInput(
    height=224,
    width=224,
    resize_shorter=224,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def build(weights: Path | None = None) -> nn.Module:
    """The model in eval mode: 1 x 3 x 224 x 224 in, 1 x 1000 logits out."""
    from transformers.models.vit.configuration_vit import ViTConfig
    from transformers.models.vit.modeling_vit import ViTForImageClassification

    from mobilesplit.segment.weights import Logits, transformer

    # Eager attention: torch has no FLOP formula for its fused kernel on CPUs, and lowering takes
    # that apart into more operators that no delegate runs (65 against 44 in two layers).
    config = ViTConfig(num_labels=1000, attn_implementation="eager")
    return Logits(transformer(ViTForImageClassification, config, weights))


def example_inputs() -> tuple[Tensor, ...]:
    """One image of seeded noise, 1 x 3 x 224 x 224."""
    from mobilesplit.segment.examples import noise_photo

    return noise_photo(PREPROCESS)
