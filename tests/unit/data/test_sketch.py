"""Quantiles of many values in little memory, and how many lie near one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matgen.data import sketch
from matgen.data.sketch import LEVELS, Sketch, share_near


def sketched(values: np.ndarray, pieces: int = 7) -> list[float]:
    found = Sketch()
    for piece in np.array_split(values, pieces):
        found.add(piece.tolist())
    return found.quantiles()


def test_levels_ascend_from_zero_to_one() -> None:
    assert (LEVELS[0], LEVELS[-1]) == (0, 1)
    assert (np.diff(LEVELS) > 0).all()


def test_few_values_are_kept_whole() -> None:
    values = np.random.default_rng(0).normal(size=5_000)
    np.testing.assert_allclose(sketched(values), np.quantile(values, LEVELS), rtol=1e-5, atol=1e-5)


def test_many_values_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "_MOST", 2_000)
    values = np.random.default_rng(0).permutation(100_000) / 100_000
    found = Sketch()
    for piece in np.array_split(values, 333):
        found.add(piece.tolist())
        assert found._n_kept <= 2_000
    inner = (LEVELS > 0.004) & (LEVELS < 0.996)
    off = np.array(found.quantiles()) - LEVELS
    assert np.abs(off[inner]).max() < 0.05
    assert len(np.concatenate(found._kept)) == -(-100_000 // found._every)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=400),
    st.floats(-2e3, 2e3),
)
def test_the_share_near_a_value_is_that_of_the_values(values: list[float], asked: float) -> None:
    share, width = share_near(asked, sketched(np.array(values)))
    near = np.abs(np.array(values) - asked)
    # Values on the edge of the window may count or not; quantiles are interpolated between values.
    least, most = (near < width).mean(), (near <= width).mean()
    slack = 2 / len(values) + 0.011
    assert 0 <= share <= 1
    assert least - slack <= share <= most + slack


def test_ties_count_as_often_as_they_are_there() -> None:
    gaps = np.concatenate([np.zeros(600), np.linspace(0.1, 8.0, 400)])
    assert share_near(0.0, sketched(gaps))[0] == pytest.approx(0.6, abs=0.02)
    assert share_near(30.0, sketched(gaps))[0] == 0
    assert share_near(4.0, sketched(np.full(10, 4.0)))[0] == 1
    assert share_near(5.0, sketched(np.full(10, 4.0)))[0] == 0
