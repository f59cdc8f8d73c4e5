"""What is counted is what is there; the figures are files that a browser opens."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from matgen import Crystal, Record
from matgen.data.figure_page import table_rows
from matgen.data.figures import _bars, _distribution, draw
from matgen.data.histogram import histogram
from matgen.data.statistics import (
    Distribution,
    Statistics,
    crystal_system,
    gather,
)
from matgen.errors import BadOptions
from matgen.records import LabelSource, Skipped
from matgen_datasets.mp_le20 import MpLe20
from matgen_executors.local import LocalExecutor
from tests.unit.data.listed import Listed, real_crystals

CRYSTALS = real_crystals(12)


def unheard(*_: object) -> None:
    """Hear nothing of the progress."""


def gathered(listed: Listed, *splits: str) -> Statistics:
    with LocalExecutor().open() as pool:
        return gather(listed, splits or listed.splits, pool, unheard)  # type: ignore[arg-type]


FINITE = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6))


@given(values=FINITE, cut=st.integers(0, 40))
def test_a_distribution_does_not_depend_on_how_its_values_come(
    values: np.ndarray, cut: int
) -> None:
    at_once, in_two, merged, rest = (Distribution() for _ in range(4))
    at_once.add(values)
    in_two.add(values[:cut])
    in_two.add(values[cut:])
    merged.add(values[:cut])
    rest.add(values[cut:])
    merged.merge(rest)
    for other in (in_two, merged):
        assert (other.n, other.lowest, other.highest) == (
            len(values), values.min(), values.max(),
        )  # fmt: skip
        assert other.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
        np.testing.assert_array_equal(other.points(), at_once.points())


@given(values=FINITE, share=st.floats(0.01, 1.0))
def test_a_quantile_is_one_of_the_values_but_for_rounding(values: np.ndarray, share: float) -> None:
    distribution = Distribution()
    distribution.add(values)
    exact = np.sort(values)[math.ceil(share * len(values) - 1e-9) - 1]
    assert distribution.quantile(share) == pytest.approx(exact, rel=2.5e-4, abs=1e-300)


def test_memory_of_a_distribution_does_not_grow_with_its_values() -> None:
    rng = np.random.default_rng(0)
    distribution = Distribution()
    for _ in range(20):
        distribution.add(rng.uniform(1.0, 16.0, 20_000))
    values, counts = distribution.points()
    assert counts.sum() == 400_000
    assert len(values) <= 4 * 2048 + 1  # four octaves of 2,048 values


@given(values=FINITE)
def test_a_histogram_loses_no_value(values: np.ndarray) -> None:
    distribution = Distribution()
    distribution.add(values)
    bins = histogram(distribution)
    assert bins.counts.sum() + bins.outside == len(values)
    assert bins.outside <= 0.002 * len(values) + 1e-9
    assert 1 <= len(bins.counts) <= 170


def test_whole_numbers_get_a_centred_bin_each() -> None:
    distribution = Distribution()
    distribution.add(np.array([3.0, 3.0, 5.0]))
    bins = histogram(distribution)
    assert bins.edges.tolist() == [2.5, 3.5, 4.5, 5.5]
    assert bins.counts.tolist() == [2, 0, 1]


def test_far_tails_are_cut_and_counted() -> None:
    distribution = Distribution()
    distribution.add(np.append(np.linspace(0.0, 1.0, 5000), [1e9]))
    bins = histogram(distribution)
    assert bins.edges[-1] < 2.0
    assert bins.outside >= 1


def test_rounding_noise_below_zero_gets_no_bin_of_its_own() -> None:
    distribution = Distribution()
    distribution.add(np.append(np.linspace(0.0, 1.0, 100), [-4e-14] * 50))
    bins = histogram(distribution)
    assert bins.edges[0] == 0.0
    assert bins.counts[0] >= 50
    assert bins.outside == 0


def test_counts_are_those_of_the_crystals() -> None:
    listed = Listed(rows=tuple(("train", Record(f"{i}", c)) for i, c in enumerate(CRYSTALS)))
    found = gathered(listed)
    elements = Counter(int(z) for c in CRYSTALS for z in set(c.numbers.tolist()))
    assert found.elements == elements
    assert found.n_crystals == len(CRYSTALS)
    assert found.n_sites.mean == pytest.approx(np.mean([c.n_sites for c in CRYSTALS]))
    structures = [c.to_structure() for c in CRYSTALS]
    assert found.density.mean == pytest.approx(np.mean([s.density for s in structures]), rel=1e-4)
    for axis in range(3):
        lengths = [s.lattice.lengths[axis] for s in structures]
        angles = [s.lattice.angles[axis] for s in structures]
        assert found.lengths[axis].mean == pytest.approx(np.mean(lengths))
        assert found.angles[axis].mean == pytest.approx(np.mean(angles))


def test_space_groups_are_computed_only_where_the_dataset_has_none() -> None:
    rows = (
        ("train", Record("own", CRYSTALS[0], {"space_group": 1.0})),
        ("train", Record("none", cube())),
        ("train", Record("nonsense", cube(), {"space_group": 999.0})),
    )
    found = gathered(Listed(rows=rows, measured_in={"space_group": "number"}))
    assert found.space_groups == {1: 1, 221: 2}
    assert found.computed_groups == 2


def cube() -> Crystal:
    return Crystal(3.0 * np.eye(3), np.zeros((1, 3)), np.array([84]))


def test_computed_space_groups_agree_with_those_of_spglib_in_the_bundled_set() -> None:
    records = [r for i, r in enumerate(MpLe20().records("val")) if i % 20 == 0]
    rows = tuple(("train", Record(r.id, r.crystal)) for r in records)
    found = gathered(Listed(rows=rows))
    ours = Counter(int(r.properties["space_group"]) for r in records)
    differ = (ours - found.space_groups).total()
    # At the same symprec of 0.01 Å the two libraries part on 33 of all 8,663.
    assert differ / len(records) < 0.01


def test_missing_infinite_and_unreadable_are_counted_apart() -> None:
    rows = (
        ("train", Record("a", cube(), {"gap": 1.0, "phase": "alpha"})),
        ("train", Record("b", cube(), {"gap": math.inf, "phase": "alpha"})),
        ("val", Record("c", cube(), {"phase": "beta"})),
        ("val", Skipped("page 3", "blank")),
    )
    found = gathered(Listed(rows=rows, measured_in={"gap": "eV", "phase": "text"}))
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["counts"] == {"train": 2, "val": 1, "test": 0}
    assert told["skipped"] == 1
    gap, phase = told["properties"]["gap"], told["properties"]["phase"]
    assert (gap["known"], gap["missing"], gap["not_finite"]) == (1, 2, 1)
    assert phase["most_common"] == {"alpha": 2, "beta": 1}


def test_only_the_split_asked_for_is_counted_and_an_unknown_one_is_refused() -> None:
    rows = (("train", Record("a", cube())), ("val", Record("b", CRYSTALS[0])))
    assert gathered(Listed(rows=rows), "train").elements == {84: 1}
    with pytest.raises(BadOptions, match="no split 'holdout'; it has train, val, test"):
        gathered(Listed(rows=rows), "holdout")


def test_crystal_systems_are_those_of_pymatgen() -> None:
    from pymatgen.symmetry.groups import SpaceGroup

    told = {n: SpaceGroup.from_int_number(n).crystal_system for n in range(1, 231)}
    assert {n: crystal_system(n) for n in range(1, 231)} == told


def figures_of(folder: Path, listed: Listed) -> list[str]:
    return [drawing.name for drawing in draw(gathered(listed), folder)]


def test_every_property_is_drawn_and_the_page_shows_every_figure(tmp_path: Path) -> None:
    rows = tuple(
        (
            "train",
            Record(f"{i}", c, {"gap": i / 3, "a/b": 1.0, "A-b": 2.0, "phase": "α" * (i % 3 + 1)}),
        )
        for i, c in enumerate(CRYSTALS)
    )
    units = {"gap": "eV", "a/b": "1", "A-b": "1", "phase": "text", "never": "eV"}
    names = figures_of(tmp_path, Listed(rows=rows, measured_in=units))
    assert names[:6] == ["elements", "sites", "n_elements", "space_groups", "cells", "density"]
    assert names[6:] == [
        "property-gap",
        "property-a-b",
        "property-A-b-",
        "property-phase",
        "property-never",
    ]
    page = (tmp_path / "index.html").read_text()
    shown = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {f"{n}.{kind}" for n in names for kind in ("png", "svg")} <= set(shown)
    for name in names:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ET.parse(tmp_path / f"{name}.svg")


def test_labels_say_the_unit_and_how_much_is_missing(tmp_path: Path) -> None:
    rows = tuple(
        ("train", Record(f"{i}", c, {"gap": 1.0} if i < 3 else {})) for i, c in enumerate(CRYSTALS)
    )
    figures_of(tmp_path, Listed(rows=rows, measured_in={"gap": "eV"}))
    svg = (tmp_path / "property-gap.svg").read_text()
    assert "gap (eV)" in svg
    assert "known for 3 of 12 crystals, 75.0 % missing" in svg


def test_the_same_statistics_are_the_same_bytes(tmp_path: Path) -> None:
    listed = Listed(rows=tuple(("train", Record(f"{i}", c)) for i, c in enumerate(CRYSTALS)))
    for folder in ("one", "two"):
        figures_of(tmp_path / folder, listed)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        for folder in ("one", "two")
    )
    assert first == second


def test_nothing_at_all_can_be_drawn(tmp_path: Path) -> None:
    names = figures_of(tmp_path, Listed(rows=(), measured_in={"gap": "eV"}))
    assert "property-gap" in names
    assert table_rows(gathered(Listed(rows=(), measured_in={"gap": "eV"})))[0][2] == "0"


def test_texts_of_the_user_are_escaped_on_the_page(tmp_path: Path) -> None:
    rows = (("train", Record("a", cube(), {"<b>": 1.0})),)
    figures_of(tmp_path, Listed(rows=rows, measured_in={"<b>": "<i>"}))
    page = (tmp_path / "index.html").read_text()
    assert "<b>" not in page
    assert "<i>" not in page


def test_values_of_two_sources_are_two_rows_and_two_histograms() -> None:
    two = (LabelSource("pbe", "PBE"), LabelSource("hse", "HSE06"))
    crystals = real_crystals(5)
    rows = tuple(
        ("train", Record(f"{i}", c, {"gap": 1.0 + i}, {"gap": "hse" if i > 2 else "pbe"}))
        for i, c in enumerate(crystals)
    )
    listed = Listed(rows=rows, measured_in={"gap": "eV"}, sourced={"gap": two})
    with LocalExecutor().open() as pool:
        found = gather(listed, ("train",), pool, lambda *_: None)
    assert {
        key: (v.numbers.n, v.numbers.lowest, v.shown) for key, v in found.properties.items()
    } == {
        "gap from pbe": (3, 1.0, "pbe (PBE)"),
        "gap from hse": (2, 4.0, "hse (HSE06)"),
    }
    assert [row[0] for row in table_rows(found)] == ["gap from pbe", "gap from hse"]


def test_axes_of_counts_and_of_whole_numbers_have_whole_ticks() -> None:
    from matplotlib.figure import Figure

    values = Distribution()
    values.add(np.array([2.0, 2.0, 2.0]))
    figure = Figure()
    _distribution(figure, values, "sites per cell")
    other = Figure()
    _bars(other, {"a": 1, "b": 3}, "text")
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis, other.axes[0].yaxis):
        ticks = axis.get_majorticklocs()
        assert len(ticks)
        assert all(float(tick).is_integer() for tick in ticks)
