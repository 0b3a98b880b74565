from __future__ import annotations

import math

import pytest
import torch

from mobilesplit.core.manifest import Deviation
from mobilesplit.export.deviation import deviation


def test_equal_outputs_have_no_error_and_200_db() -> None:
    scores = [(torch.tensor([[1.0, 2.0]]),)]
    found = deviation(scores, scores)
    assert found == Deviation(num_inputs=1, max_abs_error=0, snr_db=200, top1_agreement=1)


def test_a_tenth_of_the_signal_as_noise_is_20_db() -> None:
    expected = [(torch.full((1, 4), 10.0),), (torch.full((1, 4), -10.0),)]
    outputs = [(tensors[0] + 1.0,) for tensors in expected]
    found = deviation(outputs, expected)
    assert found.snr_db == pytest.approx(20.0)
    assert found.max_abs_error == pytest.approx(1.0)
    assert found.num_inputs == 2


def test_top1_agreement_is_the_share_of_inputs_with_the_same_largest_score() -> None:
    expected = [(torch.tensor([[0.0, 1.0, 2.0]]),)] * 4
    outputs = [*expected[:3], (torch.tensor([[3.0, 1.0, 2.0]]),)]
    assert deviation(outputs, expected).top1_agreement == 0.75


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 3, 4, 4)])
def test_what_is_no_row_of_scores_has_no_top1_agreement(shape: tuple[int, ...]) -> None:
    outputs = [(torch.ones(shape),)]
    assert deviation(outputs, outputs).top1_agreement is None


def test_two_outputs_have_no_top1_agreement() -> None:
    outputs = [(torch.ones(1, 3), torch.ones(1, 3))]
    assert deviation(outputs, outputs).top1_agreement is None


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_number_that_is_none_is_the_worst_and_agrees_with_nothing(wrong: float) -> None:
    expected = [(torch.tensor([[0.0, 1.0]]),)]
    found = deviation([(torch.tensor([[wrong, 1.0]]),)], expected)
    assert found.snr_db == -200
    assert found.max_abs_error > 1e300
    assert found.top1_agreement == 0
    assert Deviation.load(found.save(), source="here") == found


def test_what_is_infinite_on_both_sides_is_left_out_of_the_ratio() -> None:
    masked = torch.tensor([-math.inf, 10.0, 10.0])
    found = deviation([(masked + 1.0,)], [(masked,)])
    assert found.snr_db == pytest.approx(20.0)


def test_outputs_of_another_shape_are_the_worst() -> None:
    found = deviation([(torch.ones(1, 2),)], [(torch.ones(1, 3),)])
    assert (found.snr_db, found.top1_agreement) == (-200, 0)


def test_an_error_where_nothing_is_expected_is_the_worst_ratio() -> None:
    assert deviation([(torch.ones(2),)], [(torch.zeros(2),)]).snr_db == -200
