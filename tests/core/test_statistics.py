"""Percentiles agree with numpy's, which everyone can look up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilesplit.core.statistics import median, percentile

samples = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@given(samples, st.floats(0, 1))
def test_percentile_is_numpys_linear_quantile(values: list[float], fraction: float) -> None:
    assert percentile(values, fraction) == pytest.approx(float(np.quantile(values, fraction)))


def test_no_samples_have_no_median() -> None:
    with pytest.raises(ValueError, match="need samples"):
        median([])
