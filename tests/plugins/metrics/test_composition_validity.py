"""Both tables of oxidation states, side by side, over every crystal with published labels."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from matgen.elements import atomic_number
from matgen.evaluation.cohort import Cohort
from matgen.records import Crystal, Sample
from matgen_executors.local import LocalPool
from matgen_metrics.charge_balance import OxidationTable
from matgen_metrics.validity import Validity

GOLDEN = Path(__file__).parents[2] / "golden" / "eval" / "composition_validity.json.gz"
SETS = json.loads(gzip.decompress(GOLDEN.read_bytes()))


def _cohort(compositions: list[dict[str, int]]) -> Cohort:
    """Far apart along one long axis: only the composition can make these invalid."""
    samples = []
    for index, counts in enumerate(compositions):
        numbers = np.repeat([atomic_number(s) for s in counts], list(counts.values()))
        frac = np.zeros((len(numbers), 3))
        frac[:, 2] = np.arange(len(numbers)) / len(numbers)
        lattice = np.diag([9.0, 9.0, 3.0 * len(numbers)])
        samples.append(Sample(index, Crystal(lattice, frac, numbers)))
    return Cohort(samples, len(samples), LocalPool())


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("first", ["smact14", "icsd24"])
def test_the_evaluator_gives_the_labels_of_both_tables(name: str, first: OxidationTable) -> None:
    saved = SETS[name]
    second: OxidationTable = "icsd24" if first == "smact14" else "smact14"
    found = Validity(oxidation_table=first, second_table=second).measure(
        _cohort(saved["compositions"])
    )
    assert found.per_sample["valid_composition"] == saved[first]
    assert found.per_sample[f"valid_composition_{second}"] == saved[second]
    assert found.per_sample["valid"] == saved[first]
    assert found.notes["oxidation_table"] == first
    assert found.notes["second_oxidation_table"] == second
    assert found.notes["composition_not_in_table"] == saved[first].count(None)
    assert found.notes["composition_not_in_second_table"] == saved[second].count(None)


def test_one_table_alone_gives_no_second_column() -> None:
    found = Validity().measure(_cohort([{"Na": 1, "Cl": 1}]))
    assert set(found.per_sample) == {"valid_structure", "valid_composition", "valid"}
    assert "second_oxidation_table" not in found.notes
