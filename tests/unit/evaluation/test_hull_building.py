"""Of many energies the lowest of each composition, and nothing without what it decomposes into."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from matgen.errors import BadFile
from matgen.evaluation.energy_log import CrystalEnergy
from matgen.evaluation.hull_building import Row, assemble, crystal_rows, table_rows
from matgen.io.hull_file import plain_formula, plain_fractions, read_hull_file, write_hull_file
from matgen.records import Crystal


def _rows(rows: Iterable[tuple[str, float]]) -> list[Row]:
    return [Row(formula, plain_fractions(formula, ""), energy) for formula, energy in rows]


SALT = [("Na", -1.3), ("Cl", -1.8), ("NaCl", -3.5), ("Na2Cl2", -3.7), ("ClNa", -3.6)]


def test_the_lowest_of_a_composition_stays_whatever_its_spelling() -> None:
    made = assemble(_rows(SALT), "total", {}, leave_out=False)
    found = {plain_formula(fractions): energy for fractions, energy in made.file.entries}
    assert found == {"Na1": -1.3, "Cl1": -1.8, "Cl1Na1": -3.7}
    assert made.counts["higher_than_another"] == 2


def test_what_is_left_out_is_counted() -> None:
    rows = _rows([*SALT, ("K", math.nan), ("KCl", -3.0), ("KBr", -2.9)])
    made = assemble(rows, "total", {}, leave_out=True)
    assert made.elements_missing == ["Br", "K"]
    assert made.file.note["counts"] == {
        "rows": 8, "entries": 3, "higher_than_another": 2,
        "without_energy": 1, "without_element": 2,
    }  # fmt: skip


def test_formation_energies_need_no_elements() -> None:
    made = assemble(_rows([("NaCl", -2.1)]), "formation", {}, leave_out=False)
    assert len(made.file.entries) == 1


def test_nothing_is_no_hull() -> None:
    with pytest.raises(BadFile, match="no entry is left"):
        assemble([], "total", {}, leave_out=True)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = assemble(_rows([*SALT, ("Na3Cl7", -2.0)]), "total", {"source": "dft"}, leave_out=False)
    write_hull_file(tmp_path / "hull.parquet", made.file)
    read = read_hull_file(tmp_path / "hull.parquet")
    assert read.kind == "total"
    assert read.note["source"] == "dft"
    for (written, energy), (fractions, found) in zip(made.file.entries, read.entries, strict=True):
        assert fractions == pytest.approx(written)
        assert found == energy


def test_a_column_of_formation_energies_is_known_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("formula,formation_energy_per_atom\nCa3(PO4)2,-3.2\n")
    kind, rows = table_rows(path)
    assert kind == "formation"
    [row] = rows
    assert row.fractions == pytest.approx({"Ca": 3 / 13, "P": 2 / 13, "O": 8 / 13})


def test_energies_of_crystals_are_corrected_and_failures_stay_without() -> None:
    oxide = Crystal(
        np.array([[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]]),
        np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
        np.array([12, 8]),
    )
    found = [CrystalEnergy(-12.0), CrystalEnergy(None, error="exploded")]
    rows = list(crystal_rows([("a", oxide), ("b", oxide)], found, "mp2020"))
    assert rows[0].energy_ev_per_atom == pytest.approx((-12.0 - 0.687) / 2)
    assert math.isnan(rows[1].energy_ev_per_atom)


@pytest.mark.parametrize("formula", ["", "nacl", "Na(Cl)", "Xx2", "Na0", "Na1.5.2"])
def test_a_formula_that_is_none_is_refused(formula: str) -> None:
    with pytest.raises(BadFile):
        plain_fractions(formula, "row 1")
