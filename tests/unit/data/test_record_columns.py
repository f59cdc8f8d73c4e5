"""Records packed into columns come back as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from matgen import Crystal, Record
from matgen.data.features import WIDE, Features, column_features, sparse_rows
from matgen.data.record_columns import RecordColumns
from matgen_materium.elements_asked import ReducedFormula


@st.composite
def records(draw: st.DrawFn) -> Record:
    n = draw(st.integers(0, 5))
    frac = draw(hnp.arrays(np.float64, (n, 3), elements=st.floats(-2, 2)))
    numbers = draw(hnp.arrays(np.int64, n, elements=st.integers(-1, 200)))
    states = draw(st.none() | hnp.arrays(np.int64, n, elements=st.integers(-90, 90)))
    lattice = draw(hnp.arrays(np.float64, (3, 3), elements=st.floats(-9, 9)))
    crystal = Crystal(lattice, frac, numbers, states if n else None)
    return Record(draw(st.text(max_size=3)), crystal, {"a": 1.0}, {"a": "here"})


def same(one: Crystal, other: Crystal) -> bool:
    states = one.oxidation, other.oxidation
    return (
        np.array_equal(one.lattice, other.lattice)
        and np.array_equal(one.frac, other.frac)
        and np.array_equal(one.numbers, other.numbers)
        and (states[0] is states[1] is None or np.array_equal(*states))  # type: ignore[arg-type]
    )


@given(st.lists(records(), max_size=6))
def test_what_goes_into_columns_comes_out(given: list[Record]) -> None:
    back = list(RecordColumns.of(given).records())
    assert [r.id for r in back] == [r.id for r in given]
    assert all(same(a.crystal, b.crystal) for a, b in zip(given, back, strict=True))
    assert all(a.properties == b.properties for a, b in zip(given, back, strict=True))
    assert all(a.sources == b.sources for a, b in zip(given, back, strict=True))


@pytest.mark.parametrize(
    "crystal",
    [
        Crystal(np.eye(3), np.zeros((2, 2)), np.array([1, 2])),
        Crystal(np.eye(2), np.zeros((1, 3)), np.array([1])),
        Crystal(np.eye(3), np.zeros((1, 3)), np.array([1]), np.array([1, 2])),
        Crystal(np.eye(3), np.zeros((1, 3)), np.array([1]), np.array([1000])),
    ],
)
def test_a_crystal_of_odd_shape_travels_as_it_is_to_be_refused_by_name(crystal: Crystal) -> None:
    fine = Record("fine", Crystal(np.eye(3), np.zeros((1, 3)), np.array([1])))
    odd = Record("odd", crystal)
    back = list(RecordColumns.of([fine, odd, fine]).records())
    assert [r.id for r in back] == ["fine", "odd", "fine"]
    assert back[1].crystal is crystal


@given(st.lists(st.sampled_from(["NaCl", "Fe2O3", None, "BaTiO3"]), min_size=1, max_size=8))
def test_sparse_rows_are_the_dense_ones(column: list[str | None]) -> None:
    condition = ReducedFormula()
    assert condition.feature_size > WIDE
    features = column_features(condition, column, [""] * len(column))
    assert isinstance(features, Features)
    assert features.counts is not None
    ends = np.concatenate([[0], np.cumsum(np.maximum(features.counts, 0))])
    order = np.arange(len(column))[::-1]
    rows = sparse_rows(features, ends, order, condition.feature_size)
    for row, place in zip(rows, order, strict=True):
        value = column[place]
        if value is None:
            assert np.isnan(row).all()
        else:
            np.testing.assert_array_equal(row, np.array(condition.feature(value), dtype="f4"))
