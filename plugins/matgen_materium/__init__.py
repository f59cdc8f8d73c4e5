"""Materium (arXiv:2512.07486): crystals as [element|oxidation], coordinates and lattice tokens.

The default plugin set: one representation, four orderings, the paper's conditions and three more,
and the Llama-style decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen import Backbone, Condition, Constraint, Ordering, Representation


@hookimpl
def matgen_representations() -> list[type[Representation]]:
    from matgen_materium.atoms import Atoms

    return [Atoms]


@hookimpl
def matgen_orderings() -> list[type[Ordering]]:
    from matgen_materium.orderings import High, Low, Random, Xyz

    return [High, Low, Xyz, Random]


@hookimpl
def matgen_conditions() -> list[type[Condition]]:
    from matgen_materium import conditions, elements_asked

    return [
        conditions.Density,
        conditions.SpaceGroup,
        elements_asked.ReducedFormula,
        conditions.BandGap,
        conditions.MagneticDensity,
        conditions.Hhi,
        conditions.EnergyAboveHull,
        elements_asked.ChemicalSystem,
        conditions.NSites,
        conditions.Column,
    ]


@hookimpl
def matgen_backbones() -> list[type[Backbone]]:
    from matgen_materium.llama import Llama

    return [Llama]


@hookimpl
def matgen_constraints() -> list[type[Constraint]]:
    from matgen_materium.constraint_cell import Cell
    from matgen_materium.constraint_distance import MinDistance
    from matgen_materium.constraint_lattice_system import LatticeSystem
    from matgen_materium.constraint_start import Start

    return [Cell, Start, MinDistance, LatticeSystem]
