"""Crystals of the shipped model obey the rules, as pymatgen counts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from pymatgen.core import Composition, Element

from matgen import Constraint, Crystal
from matgen.catalog import Catalog
from matgen.generation.generate import SamplePlan, generate
from matgen.nn.crystal_model import CrystalModel
from matgen_constraints.charge_neutral import ChargeNeutral
from matgen_constraints.element_sets import ChemicalSystem, Elements, Exclude
from matgen_constraints.formulas import Contains, Formula
from matgen_constraints.ranges import NElements, NSites
from matgen_constraints.unseen import Unseen
from matgen_datasets.mp_le20 import MpLe20
from matgen_samplers.ancestral import Ancestral

N_SAMPLES = 500
DATASET = MpLe20()

Law: TypeAlias = Callable[[Crystal], bool]


def composition(crystal: Crystal) -> Composition:
    return Composition({Element.from_Z(z): n for z, n in counted(crystal).items()})


def counted(crystal: Crystal) -> dict[int, int]:
    numbers = crystal.numbers.tolist()
    return {number: numbers.count(number) for number in numbers}


def symbols(crystal: Crystal) -> set[str]:
    return {element.symbol for element in composition(crystal)}


def charge(crystal: Crystal) -> int:
    assert crystal.oxidation is not None
    return int(crystal.oxidation.sum())


def known_formulas() -> set[str]:
    return {composition(r.crystal).reduced_formula for r in DATASET.records("train")}


def unseen() -> Law:
    known = known_formulas()
    return lambda crystal: composition(crystal).reduced_formula not in known


ALONE: dict[str, tuple[Constraint, Callable[[], Law]]] = {
    "formula": (
        Formula.parse("Fe2Li2O4"),
        lambda: lambda c: composition(c).reduced_formula == "LiFeO2",
    ),
    "contains": (
        Contains.parse("Fe2O"),
        lambda: lambda c: composition(c)["Fe"] >= 2 and composition(c)["O"] >= 1,
    ),
    "elements": (Elements.parse("Li,Fe,O"), lambda: lambda c: symbols(c) <= {"Li", "Fe", "O"}),
    "exclude": (Exclude.parse("O,Fe,F"), lambda: lambda c: not symbols(c) & {"O", "Fe", "F"}),
    "chemical_system": (
        ChemicalSystem.parse("Li-Fe-O"),
        lambda: lambda c: composition(c).chemical_system == "Fe-Li-O",
    ),
    "n_sites": (NSites.parse("4..12"), lambda: lambda c: 4 <= composition(c).num_atoms <= 12),
    "n_sites, one number": (NSites.parse("7"), lambda: lambda c: composition(c).num_atoms == 7),
    "n_elements": (NElements.parse("3"), lambda: lambda c: len(composition(c)) == 3),
    "charge_neutral": (ChargeNeutral.parse(""), lambda: lambda c: charge(c) == 0),
    "charge_neutral strict": (
        ChargeNeutral.parse("strict"),
        lambda: lambda c: charge(c) == 0 and any(c.oxidation),
    ),
    "unseen": (Unseen(dataset=DATASET), unseen),
}
TOGETHER = [
    ("formula", "charge_neutral strict"),
    ("chemical_system", "charge_neutral"),
    ("n_elements", "charge_neutral strict", "n_sites"),
    ("unseen", "exclude", "charge_neutral strict", "n_elements"),
    ("contains", "unseen", "n_sites", "elements", "charge_neutral"),
]


def crystals(model: CrystalModel, constraints: tuple[Constraint, ...], n: int) -> list[Crystal]:
    """Return the crystals of ``n`` samples; each of them must be one."""
    plan = SamplePlan(model, Ancestral(batch_size=256), constraints=constraints, n=n, seed=3)
    samples = list(generate(plan))
    assert [sample.error for sample in samples if sample.error] == []
    return [sample.crystal for sample in samples if sample.crystal is not None]


def test_every_registered_rule_is_sampled_here() -> None:
    catalog = Catalog.load()
    registered = {n for n in catalog.names("constraint") if n.startswith("constraints:")}
    assert {catalog.qualified_name(rule) for rule, _ in ALONE.values()} == registered


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ALONE))
def test_every_sample_is_a_crystal_that_obeys_the_rule(name: str, shipped: CrystalModel) -> None:
    rule, law = ALONE[name]
    found = crystals(shipped, (rule,), N_SAMPLES)
    obeys = law()
    assert len(found) == N_SAMPLES
    assert [c.numbers.tolist() for c in found if not obeys(c)] == []
    # Trained with the heaviest element first, and rules keep to that.
    assert [c.numbers.tolist() for c in found if (np.diff(c.numbers) > 0).any()] == []


@pytest.mark.slow
@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_every_sample_obeys_rules_that_were_asked_for_together(
    names: tuple[str, ...], shipped: CrystalModel
) -> None:
    found = crystals(shipped, tuple(ALONE[name][0] for name in names), N_SAMPLES // 4)
    for name in names:
        obeys = ALONE[name][1]()
        assert [c.numbers.tolist() for c in found if not obeys(c)] == []
