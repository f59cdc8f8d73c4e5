"""The rule to complete a partial structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from matgen import Crystal
from matgen.catalog import Catalog
from matgen.errors import BadOptions
from matgen.generation.generate import SamplePlan, generate
from matgen.nn.crystal_model import CrystalModel
from matgen.run_dir import load_model, shipped_model
from matgen.testing import check_constraint
from matgen_materium.atoms import Atoms
from matgen_materium.cells import lattice_parameters, lattice_vectors
from matgen_materium.constraint_start import Start
from tests.unit.small_model import Words

CATALOG = Catalog.load()
CELL = (4.2, 4.2, 6.0, 90.0, 90.0, 120.0)
PART = Crystal(
    lattice_vectors(np.array(CELL)),
    np.array([[0.0, 0.0, 0.0], [1 / 3, 2 / 3, 0.5]]),
    np.array([26, 8]),
)


@pytest.fixture(scope="module")
def shipped() -> CrystalModel:
    model, _ = load_model(shipped_model(), CATALOG, device="cpu")
    return model


@pytest.fixture
def part(tmp_path: Path) -> str:
    write(tmp_path / "part.extxyz", PART.to_atoms())
    return str(tmp_path / "part.extxyz")


def test_a_file_gives_sites_and_cell_and_its_parts_one_of_them(part: str) -> None:
    both, atoms, cell = (Start.parse(part + ending) for ending in ("", ":atoms", ":cell"))
    assert (both.numbers, atoms.numbers, cell.numbers) == ((26, 8), (26, 8), ())
    assert atoms.cell == ()
    assert both.cell == cell.cell == pytest.approx(CELL, abs=1e-6)
    np.testing.assert_allclose(both.frac, PART.frac, atol=1e-6)


def test_what_is_no_file_or_part_is_refused(part: str) -> None:
    for text, why in [("", "no file ''"), ("gone.cif", "no file 'gone.cif'"), (part + ":x", "'x'")]:
        with pytest.raises(BadOptions, match=why):
            Start.parse(text)


def test_a_left_handed_cell_is_the_same_crystal_turned_round() -> None:
    left = Crystal(PART.lattice[[1, 0, 2]], PART.frac[:, [1, 0, 2]], PART.numbers)
    start = Start.of(left)
    written = Crystal(lattice_vectors(np.array(start.cell)), np.array(start.frac), PART.numbers)
    assert np.linalg.det(written.lattice) > 0
    from pymatgen.analysis.structure_matcher import StructureMatcher

    assert StructureMatcher().fit(written.to_structure(), PART.to_structure())


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (Start(numbers=(26,) * 3, frac=((0, 0, 0),) * 3), "3 sites are given"),
        (Start(numbers=(110,), frac=((0, 0, 0),)), "no token"),
        (Start(numbers=(26,), frac=((0, 0, 0),), states=(12,)), "state without a token"),
        (Start(cell=(1.0, 4, 4, 90, 90, 90)), "outside the grid"),
    ],
)
def test_what_the_model_cannot_write_is_refused(start: Start, why: str) -> None:
    with pytest.raises(BadOptions, match=why):
        start.bind(Atoms(max_sites=2))


def test_another_representation_is_refused() -> None:
    with pytest.raises(BadOptions, match="representation 'atoms'"):
        Start.of(PART).bind(Words())


def test_settings_that_do_not_fit_together_are_refused() -> None:
    for wrong in ({}, {"numbers": (1,)}, {"cell": (1.0,)}, {"cell": (4.0,) * 5 + (np.nan,)}):
        with pytest.raises(BadOptions):
            Start.model_validate(wrong)


@pytest.mark.parametrize("lattice", ["first", "last"])
@pytest.mark.parametrize("inner", ["species_first", "coordinates_first"])
def test_it_is_a_grammar_wherever_cell_and_species_are_written(lattice: str, inner: str) -> None:
    atoms = Atoms.model_validate({"lattice": lattice, "inner": inner, "max_sites": 4})
    check_constraint(Start.of(PART), atoms)
    check_constraint(Start.of(PART, cell=False), atoms)
    check_constraint(Start.of(PART, atoms=False), atoms)


@pytest.mark.parametrize("with_states", [False, True])
def test_300_samples_of_the_shipped_model_complete_it(
    shipped: CrystalModel, with_states: bool
) -> None:
    given = PART.with_oxidation(np.array([2, -2])) if with_states else PART
    plan = SamplePlan(
        model=shipped,
        sampler=CATALOG.build("sampler", "samplers:ancestral"),
        constraints=(Start.of(given),),
        n=150,
        seed=2,
    )
    found = [sample.crystal for sample in generate(plan)]
    for crystal in found:
        assert crystal is not None
        assert crystal.numbers[:2].tolist() == [26, 8]
        np.testing.assert_allclose(crystal.frac[:2], PART.frac, atol=1e-12)
        np.testing.assert_allclose(lattice_parameters(crystal.lattice), CELL, atol=1e-9)
    assert len({crystal.n_sites for crystal in found if crystal}) > 1
    if with_states:
        states = {tuple(c.oxidation[:2].tolist()) for c in found if c and c.oxidation is not None}
        assert states == {(2, -2)}
