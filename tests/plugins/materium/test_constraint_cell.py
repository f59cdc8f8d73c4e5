"""The rule on the cell: what a person may write, what is refused, and what then is sampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms as AseAtoms
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st

from matgen.catalog import Catalog
from matgen.errors import BadOptions
from matgen.generation.generate import SamplePlan, generate
from matgen.nn.crystal_model import CrystalModel
from matgen.run_dir import load_model, shipped_model
from matgen.testing import check_constraint
from matgen_materium.atoms import Atoms
from matgen_materium.bins import Bins
from matgen_materium.cells import lattice_parameters
from matgen_materium.constraint_cell import Cell
from tests.unit.small_model import Words

CATALOG = Catalog.load()
HEXAGONAL = (3.02, 3.02, 5.1, 90.0, 90.0, 120.0)


@pytest.fixture(scope="module")
def shipped() -> CrystalModel:
    model, _ = load_model(shipped_model(), CATALOG, device="cpu")
    return model


def test_six_numbers_and_the_file_of_that_cell_are_the_same_rule(tmp_path: Path) -> None:
    write(tmp_path / "cell.vasp", AseAtoms("C", cell=HEXAGONAL, pbc=True), format="vasp")
    from_file = Cell.parse(str(tmp_path / "cell.vasp"))
    assert from_file.parameters == pytest.approx(HEXAGONAL, abs=1e-6)
    assert Cell.parse("3.02,3.02, 5.1,90,90,120").parameters == HEXAGONAL


@pytest.mark.parametrize(
    "text", ["", "4,4,4", "4,4,4,90,90,0", "4,4,4,90,90,nan", "nowhere.cif", "a,b,c,d,e,f"]
)
def test_what_is_no_cell_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(BadOptions, match=r"a,b,c,alpha,beta,gamma"):
        Cell.parse(text)


def test_a_file_of_two_crystals_is_refused(tmp_path: Path) -> None:
    carbon = AseAtoms("C", cell=[4, 4, 4], pbc=True)
    write(tmp_path / "two.extxyz", [carbon, carbon])
    with pytest.raises(BadOptions, match="holds 2 crystals"):
        Cell.parse(str(tmp_path / "two.extxyz"))


@pytest.mark.parametrize("outside", ["drop", "clip"])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1.5,4,4,90,90,90", "a = 1.500 is outside the grid"),
        ("4,4,4,90,90,150", "gamma = 150.000 is outside the grid"),
        ("4,4,4,120,120,120", "flat cell"),
    ],
)
def test_a_cell_off_the_grids_is_refused_also_where_training_clips(
    text: str, why: str, outside: str
) -> None:
    atoms = Atoms(bins=Bins.model_validate({"outside": outside}))
    with pytest.raises(BadOptions, match=why):
        Cell.parse(text).bind(atoms)


def test_another_representation_is_refused() -> None:
    with pytest.raises(BadOptions, match="representation 'atoms'"):
        Cell(parameters=HEXAGONAL).bind(Words())


@pytest.mark.parametrize("lattice", ["first", "last"])
@pytest.mark.parametrize("inner", ["species_first", "coordinates_first"])
def test_it_is_a_grammar_wherever_the_cell_is_written(lattice: str, inner: str) -> None:
    atoms = Atoms.model_validate({"lattice": lattice, "inner": inner, "max_sites": 4})
    check_constraint(Cell(parameters=HEXAGONAL), atoms)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(2, 25)] * 3, *[st.floats(75, 105)] * 3))
def test_the_tokens_are_the_nearest_grid_points(
    parameters: tuple[float, float, float, float, float, float],
) -> None:
    atoms = Atoms()
    grammar = Cell(parameters=parameters).bind(atoms)
    state = grammar.begin(1, "cpu")
    import torch

    # A whole site, then the cell: [SOS] [ATOMS] species x y z [LATTICE].
    for token in (0, 2, atoms.first_species, *[atoms.first_bin] * 3, atoms.stop):
        assert grammar.allowed(state)[0, token]
        state = grammar.advance(state, torch.tensor([token]))
    for place, grid in enumerate(atoms.bins.lattice):
        values = grid.lowest + grid.step * np.arange(grid.n)
        error = np.abs(values - parameters[place])
        allowed = grammar.allowed(state)[0].numpy().nonzero()[0]
        assert len(allowed) == 1
        assert error[allowed[0] - atoms.first_bin] == pytest.approx(error.min(), abs=1e-9)
        state = grammar.advance(state, torch.from_numpy(allowed))


def test_300_samples_of_the_shipped_model_have_the_cell(shipped: CrystalModel) -> None:
    plan = SamplePlan(
        model=shipped,
        sampler=CATALOG.build("sampler", "samplers:ancestral"),
        constraints=(Cell(parameters=HEXAGONAL),),
        n=300,
        seed=1,
    )
    found = [sample.crystal for sample in generate(plan)]
    assert all(crystal is not None for crystal in found)
    cells = np.array([lattice_parameters(c.lattice) for c in found if c is not None])
    np.testing.assert_allclose(cells, np.tile(HEXAGONAL, (300, 1)), atol=1e-9)
