from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobilesplit.segment.trace import Graph, trace


class SkipNet(nn.Module):
    """Stem, a residual block, a classifier; with a batch norm and an in-place activation."""

    def __init__(self) -> None:
        super().__init__()
        self._stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
        )
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 3, padding=1)
        self.classify = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self._stem(image)
        x = self.right(torch.relu(self.left(x))) + x
        return self.classify(x.mean((2, 3)))


@pytest.fixture(scope="session")
def skip_net() -> nn.Module:
    """Seeded weights, and batch statistics that are not the default ones."""
    torch.manual_seed(0)
    net = SkipNet().eval()
    net._stem[1].running_mean.uniform_(-1, 1)
    net._stem[1].running_var.uniform_(0.5, 2)
    return net


@pytest.fixture(scope="session")
def images() -> tuple[Tensor, ...]:
    """One image, 1 x 3 x 32 x 32."""
    return (torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)),)


@pytest.fixture(scope="session")
def skip_graph(skip_net: nn.Module, images: tuple[Tensor, ...]) -> Graph:
    return trace(skip_net, images)
