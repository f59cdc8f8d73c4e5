"""Rules on what a crystal is made of: formulas, elements, numbers of sites, charge neutrality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen import Constraint


@hookimpl
def matgen_constraints() -> list[type[Constraint]]:
    from matgen_constraints.charge_neutral import ChargeNeutral
    from matgen_constraints.element_sets import ChemicalSystem, Elements, Exclude
    from matgen_constraints.formulas import Contains, Formula
    from matgen_constraints.ranges import NElements, NSites
    from matgen_constraints.unseen import Unseen

    return [
        Formula,
        Contains,
        Elements,
        Exclude,
        ChemicalSystem,
        NSites,
        NElements,
        ChargeNeutral,
        Unseen,
    ]
