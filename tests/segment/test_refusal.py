from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from mobilesplit.core.errors import ModelError
from mobilesplit.segment.trace import trace


class TakesTwo(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Item(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        print("asked for", file=sys.stderr)
        return x[: int(x.sum().item())]


class Selects(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]


@pytest.mark.parametrize(
    ("model", "why", "advice"),
    [
        (TakesTwo(), "missing a required argument: 'y'", "example_inputs()"),
        (Item(), "what it runs depends on its data", "torch.cond"),
        (Selects(), "size depends on the values", "fixed size"),
    ],
)
def test_each_kind_of_refusal_has_its_own_advice(model: nn.Module, why: str, advice: str) -> None:
    with pytest.raises(ModelError) as caught:
        trace(model, (torch.ones(4),))
    assert why in caught.value.what
    assert advice in caught.value.next_step


def test_where_torch_names_no_line_the_models_forward_is_named() -> None:
    with pytest.raises(ModelError) as caught:
        trace(TakesTwo(), (torch.ones(4),))
    line = TakesTwo.forward.__code__.co_firstlineno
    assert f"test_refusal.py:{line} in forward" in str(caught.value)


def test_torchs_own_account_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError):
        trace(Item(), (torch.ones(4),))
    assert capfd.readouterr() == ("", "")
