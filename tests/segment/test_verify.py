from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mobilesplit.segment.verify import max_abs_error

ONES = torch.ones(2)
NAN = torch.tensor([1.0, math.nan])
INFINITE = torch.tensor([1.0, math.inf])


@pytest.mark.parametrize(
    ("outputs", "expected", "error"),
    [
        ([ONES], [ONES], 0.0),
        ([ONES], [ONES + 0.5], 0.5),
        ([NAN], [NAN], 0.0),
        ([INFINITE], [INFINITE], 0.0),
        ([NAN], [ONES], math.inf),
        ([INFINITE], [ONES], math.inf),
        ([ONES], [torch.ones(3)], math.inf),
        ([ONES], [ONES, ONES], math.inf),
        ([torch.tensor([3])], [torch.tensor([5])], 2.0),
    ],
)
def test_the_error_is_the_largest_difference_of_any_element(
    outputs: list[Tensor], expected: list[Tensor], error: float
) -> None:
    assert max_abs_error(outputs, expected) == error
