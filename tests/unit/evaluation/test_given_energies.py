"""Energies made elsewhere belong to the samples they are of, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.io import write

from matgen.errors import BadFile, BadOptions
from matgen.evaluation.given_energies import GivenEnergies
from matgen.records import Crystal, Sample

CSCL = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])


def salt(numbers: tuple[int, int], length: float = 4.0) -> Crystal:
    return Crystal(np.eye(3) * length, CSCL, np.array(numbers))


SAMPLES = [
    Sample(0, salt((55, 17))),
    Sample(1, None, error="unfinished"),
    Sample(2, salt((11, 17))),
]


def frames(path: Path, *rows: tuple[Crystal, dict[str, object]]) -> Path:
    atoms = []
    for crystal, info in rows:
        frame = crystal.to_atoms()
        frame.info = dict(info)
        atoms.append(frame)
    write(path, atoms, format="extxyz")
    return path


def test_relaxed_crystals_are_matched_by_index(tmp_path: Path) -> None:
    path = frames(
        tmp_path / "relaxed.extxyz",
        (salt((11, 17), 3.3), {"index": 2, "total_energy_ev": -6.0, "converged": False}),
        (salt((55, 17), 4.1), {"index": 0, "total_energy_ev": -7.0, "converged": True}),
    )
    first, failed, last = GivenEnergies(path).relaxations(SAMPLES)
    assert (first.energy, first.converged) == (-7.0, True)
    assert (last.energy, last.converged) == (-6.0, False)
    assert last.crystal is not None
    assert last.crystal.lattice[0, 0] == pytest.approx(3.3)
    assert failed.crystal is None
    assert failed.error == "unfinished"


def test_energies_in_another_order_are_refused(tmp_path: Path) -> None:
    path = frames(
        tmp_path / "relaxed.extxyz",
        (salt((55, 17)), {"index": 2, "total_energy_ev": -6.0}),
        (salt((11, 17)), {"index": 0, "total_energy_ev": -7.0}),
    )
    with pytest.raises(BadOptions, match="CsCl, but sample 2 is NaCl: the energies are in another"):
        GivenEnergies(path).relaxations(SAMPLES)


def test_a_table_of_energies_is_of_the_geometries_as_sampled(tmp_path: Path) -> None:
    path = tmp_path / "energies.csv"
    path.write_text("index,energy_per_atom,formula\n0,-3.5,ClCs\n2,-3.0,Na2Cl2\n")
    first, _, last = GivenEnergies(path).relaxations(SAMPLES)
    assert (first.energy, last.energy) == (-7.0, -6.0)
    assert last.crystal is SAMPLES[2].crystal


def test_a_table_of_other_formulas_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "energies.csv"
    path.write_text("index,energy,formula\n0,-3.5,NaCl\n")
    with pytest.raises(BadOptions, match="row 1 is of NaCl, but sample 0 is CsCl"):
        GivenEnergies(path).relaxations(SAMPLES)


def test_a_parquet_table_and_a_missing_row(tmp_path: Path) -> None:
    path = tmp_path / "energies.parquet"
    pq.write_table(pa.table({"index": [2], "total_energy": [-6.0]}), path)
    first, _, last = GivenEnergies(path).relaxations(SAMPLES)
    assert first.crystal is None
    assert first.error == "no energy in energies.parquet"
    assert last.energy == -6.0


def test_an_array_has_one_energy_for_each_sample(tmp_path: Path) -> None:
    path = tmp_path / "energies.npy"
    np.save(path, np.array([-7.0, np.nan, np.nan]))
    first, _, last = GivenEnergies(path).relaxations(SAMPLES)
    assert first.energy == -7.0
    assert last.error == "no finite energy in energies.npy"
    np.save(path, np.zeros(2))
    with pytest.raises(BadOptions, match="expected one total energy for each of the 3 samples"):
        GivenEnergies(path).relaxations(SAMPLES)


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "energies.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BadFile, match="cannot read the energies"):
        GivenEnergies(path).relaxations(SAMPLES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,energy\n0,-1\n0,-2\n", "second entry for sample 0"),
        ("index,volume\n0,-1\n", "no column of energies"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "energies.csv"
    path.write_text(text)
    with pytest.raises(BadFile, match=message):
        GivenEnergies(path).relaxations(SAMPLES)


def test_an_entry_without_a_sample_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "energies.csv"
    path.write_text("index,energy\n9,-1\n")
    with pytest.raises(BadOptions, match="has index 9, and there is no such sample"):
        GivenEnergies(path).relaxations(SAMPLES)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file of energies"):
        GivenEnergies(tmp_path / "none.csv").relaxations(SAMPLES)
