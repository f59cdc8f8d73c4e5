"""Distances are those of pymatgen's phase diagram; what is not covered says so."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matgen.elements import symbols
from matgen.errors import BadFile, BadOptions, OutsideHull
from matgen.records import Crystal
from matgen_hulls.mp2020 import Mp2020
from matgen_hulls.phase_hull import PhaseHull
from matgen_relaxers.chgnet import Chgnet
from matgen_relaxers.mattersim import MatterSim


@pytest.fixture(scope="module")
def hull() -> PhaseHull:
    return Mp2020().open(Chgnet())


def _atoms(numbers: list[int]) -> Crystal:
    return Crystal(
        np.eye(3) * 5, np.random.default_rng(0).random((len(numbers), 3)), np.array(numbers)
    )


def test_hull_energies_are_those_of_pymatgens_phase_diagram(hull: PhaseHull) -> None:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core.composition import Composition

    rng = np.random.default_rng(7)
    elements = [3, 8, 9, 11, 12, 13, 14, 16, 17, 19, 20, 22, 25, 26, 29, 30, 38, 56]
    for _ in range(50):
        chosen = sorted(symbols[z] for z in rng.choice(elements, rng.integers(2, 5), replace=False))
        compositions, energies = hull.phases._arrays(tuple(chosen))
        diagram = PhaseDiagram(
            [
                PDEntry(Composition(dict(zip(chosen, column, strict=True))), energy * column.sum())
                for column, energy in zip(compositions.T, energies, strict=True)
            ]
        )
        for counts in rng.integers(1, 7, (4, len(chosen))):
            composition = Composition(dict(zip(chosen, counts, strict=True)))
            fractions = {symbol: n / counts.sum() for symbol, n in zip(chosen, counts, strict=True)}
            assert hull.phases.energy(fractions) == pytest.approx(
                diagram.get_hull_energy_per_atom(composition), abs=1e-7
            )


def test_no_shipped_entry_lies_below_the_hull_of_its_system(hull: PhaseHull) -> None:
    for system in (frozenset({"Li", "Fe", "O"}), frozenset({"Na", "Cl"})):
        for fractions, energy in hull.phases._by_system[system]:
            assert energy >= hull.phases.energy(fractions) - 1e-9


def test_an_element_at_its_reference_energy_is_on_the_hull(hull: PhaseHull) -> None:
    assert hull.references is not None
    energy = 2 * hull.references["Si"]
    assert hull.distance(_atoms([14, 14]), energy) == pytest.approx(0.0, abs=1e-9)
    assert hull.distance(_atoms([14, 14]), energy - 0.2) == pytest.approx(-0.1)


def test_energy_counts_per_atom_of_the_cell(hull: PhaseHull) -> None:
    one = hull.distance(_atoms([11, 17]), -6.0)
    assert hull.distance(_atoms([11, 17, 11, 17]), -12.0) == pytest.approx(one)


def test_an_unknown_element_is_outside(hull: PhaseHull) -> None:
    with pytest.raises(OutsideHull, match="Og"):
        hull.distance(_atoms([118, 8]), -3.0)


def test_many_elements_take_the_other_way_through_the_systems(hull: PhaseHull) -> None:
    numbers = [z for z in range(3, 57) if z not in (10, 18, 36, 54)]
    fractions = {symbols[z]: 1 / len(numbers) for z in numbers}
    assert hull.phases.energy(fractions) < -1.0


def test_a_potential_without_references_is_refused() -> None:
    with pytest.raises(BadOptions, match="chgnet"):
        Mp2020().open(MatterSim())


def test_another_file_takes_the_place_of_the_shipped_one(tmp_path: object) -> None:
    path = f"{tmp_path}/hull.parquet"
    pq.write_table(
        pa.table({"composition": ["NaCl", "Na3Cl1"], "formation_energy_per_atom": [-2.0, -1.5]}),
        path,
    )
    hull = Mp2020(path=path).open(Chgnet())
    assert hull.phases.energy({"Na": 0.5, "Cl": 0.5}) == pytest.approx(-2.0)
    # Between NaCl (half Na) and Na3Cl, and on the line to pure Na.
    assert hull.phases.energy({"Na": 0.625, "Cl": 0.375}) == pytest.approx(-1.75)
    assert hull.phases.energy({"Na": 0.875, "Cl": 0.125}) == pytest.approx(-0.75)


@pytest.mark.parametrize(
    "columns",
    [
        {"composition": ["NaCl"]},
        {"composition": ["Na(Cl"], "formation_energy_per_atom": [-2.0]},
        {"composition": ["NaCl"], "formation_energy_per_atom": [float("nan")]},
    ],
)
def test_a_file_of_something_else_is_refused(
    tmp_path: object, columns: dict[str, list[object]]
) -> None:
    path = f"{tmp_path}/hull.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(BadFile):
        Mp2020(path=path).open(Chgnet())
