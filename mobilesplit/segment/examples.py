"""Example inputs of the models in models/: always the same; bundles are verified with them."""

from __future__ import annotations

import torch
from torch import Tensor

from mobilesplit.core.manifest import ImageInput


def noise_photo(how: ImageInput) -> tuple[Tensor, ...]:
    """One image of seeded noise, 1 x 3 x height x width."""
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(1, 3, how.height, how.width, generator=generator),)
