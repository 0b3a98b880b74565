from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from mobilesplit.segment.functional import functional, writes


class Inline(nn.Module):
    """A convolution, and a function of what it returns."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


def _in_place_then_both(x: Tensor) -> Tensor:
    x.relu_()  # what it returns is not used: later readers of x see it all the same
    return x + x.sin()


def _write_behind_a_view(x: Tensor) -> Tensor:
    view = x.flatten(1)
    x.relu_()
    return view * 2


def _write_through_a_view(x: Tensor) -> Tensor:
    x.select(1, 0).zero_()
    return x * 2


def _write_what_dropout_passed_on(x: Tensor) -> Tensor:
    y = nn.functional.dropout(x, training=False).relu_()
    return x + y


def _write_what_was_read_before(x: Tensor) -> Tensor:
    before = x.cos()
    return before + x.mul_(2).add_(before, alpha=3)


def _write_to_itself(x: Tensor) -> Tensor:
    return x.mul_(x) + 1


def _return_what_is_written(x: Tensor) -> Tensor:
    x.relu_()
    return x


SIMPLE = [_in_place_then_both, _write_what_was_read_before, _return_what_is_written]
SHARED = [_write_behind_a_view, _write_through_a_view, _write_to_itself]


def _exported(function: Callable[[Tensor], Tensor]) -> tuple[nn.Module, Tensor, ExportedProgram]:
    torch.manual_seed(0)
    module, x = Inline(function).eval(), torch.randn(1, 2, 3, 3)
    with torch.no_grad():
        return module, x, torch.export.export(module, (x,), strict=False)


@pytest.mark.parametrize("function", [*SIMPLE, *SHARED])
def test_nothing_writes_any_more_and_the_result_is_the_same(
    function: Callable[[Tensor], Tensor],
) -> None:
    module, x, program = _exported(function)
    assert any(writes(node) for node in program.graph.nodes)
    program = functional(program)
    assert not any(writes(node) for node in program.graph.nodes)
    with torch.no_grad():
        assert torch.equal(program.module()(x), module(x))


@pytest.mark.parametrize("function", SIMPLE)
def test_memory_of_one_owner_needs_no_second_trace(
    function: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExportedProgram, "run_decompositions", None)
    _, _, program = _exported(function)
    targets = [str(node.target) for node in functional(program).graph.nodes]
    assert "aten.conv2d.default" in targets


# Torch makes a copy of what dropout passes on, so its own answer is another than the model's.
@pytest.mark.parametrize("function", [*SHARED, _write_what_dropout_passed_on])
def test_memory_that_is_shared_is_left_to_torch(function: Callable[[Tensor], Tensor]) -> None:
    _, _, program = _exported(function)
    assert functional(program) is not program
