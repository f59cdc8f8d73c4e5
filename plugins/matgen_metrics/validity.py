"""Evaluator: crystals that could exist by the crudest rules of geometry and of valence."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from matgen.crystal.checks import check_crystal
from matgen.errors import BadCrystal
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import Cell, both, padded, share
from matgen.records import Crystal, Measurement
from matgen.roles.evaluator import Evaluator
from matgen_metrics.charge_balance import OxidationTable, balanced


class Validity(Evaluator):
    """Structural validity (distances, volume) and composition validity (charge, Pauling)."""

    name = "validity"
    cites = ("Davies et al., JOSS 4, 1361 (2019)", "Xie et al., CDVAE, arXiv:2110.06197")

    min_distance_ang: float = Field(default=0.5, ge=0)
    """Sites nearer than this make a structure invalid, Å."""
    min_volume_ang3: float = Field(default=0.1, ge=0)
    """Cells smaller than this make a structure invalid, Å3."""
    oxidation_table: OxidationTable = "smact14"
    """Oxidation states to balance with: smact14 as in tables published before 2025, or icsd24."""
    second_table: OxidationTable | None = None
    """Another table to report beside it: the two label one crystal in eight differently. None
    reports no second."""

    def measure(self, cohort: Cohort) -> Measurement:
        """Return both validities per sample, as sampled; a second table gets a column of its own.

        ``valid`` joins the structure with ``oxidation_table`` alone.
        """
        structure = padded(
            (None if c is None else self.structurally_valid(c) for c in cohort.crystals),
            cohort.asked,
        )
        composition = _balanced(cohort, self.oxidation_table)
        columns = {
            "valid_structure": structure,
            "valid_composition": composition,
            "valid": both(structure, composition),
        }
        notes: dict[str, str | float] = {
            "geometry": "as sampled",
            "oxidation_table": self.oxidation_table,
            "composition_not_in_table": _unknown(cohort, composition),
        }
        if self.second_table is not None:
            second = _balanced(cohort, self.second_table)
            columns[f"valid_composition_{self.second_table}"] = second
            notes["second_oxidation_table"] = self.second_table
            notes["composition_not_in_second_table"] = _unknown(cohort, second)
        return Measurement(
            asked=cohort.asked,
            per_sample=columns,
            summary={name: share(column, cohort.asked) for name, column in columns.items()},
            units=dict.fromkeys(columns, ""),
            notes=notes,
        )

    def structurally_valid(self, crystal: Crystal) -> bool:
        """Return whether the cell is large enough and no two sites are too close."""
        if crystal.n_sites and crystal.volume < self.min_volume_ang3:
            return False
        try:
            check_crystal(crystal, min_distance=self.min_distance_ang)
        except BadCrystal:
            return False
        return True


def _balanced(cohort: Cohort, table: OxidationTable) -> list[Cell]:
    found = (None if c is None else balanced(_counts(c), table) for c in cohort.crystals)
    return padded(found, cohort.asked)


def _unknown(cohort: Cohort, composition: list[Cell]) -> int:
    """Return how many crystals hold an element that the table lacks."""
    return sum(
        crystal is not None and composition[index] is None
        for index, crystal in enumerate(cohort.crystals)
    )


def _counts(crystal: Crystal) -> dict[int, int]:
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))
