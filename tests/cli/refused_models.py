"""Source of models that torch.export does not take: the commands' tests write it into files.

The comments are what the tests look for in the messages that quote the line.
"""

from __future__ import annotations

REFUSED = """
class Branches(nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # depends on data
            return x + 1
        return x - 1

class Foreign(nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.numpy() + 1)  # not torch
"""
