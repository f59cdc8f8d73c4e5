"""References from tables and potentials, and what is said of those that cannot work."""

from __future__ import annotations

import gzip
import json
import pickle
from math import nan
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Cli

TABLE = """formula,energy_per_atom
Na2,-1.3
Cl2,-1.8
NaCl,-3.7
Na2Cl2,-3.5
Na(Cl)3,-2.0
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "dft.csv"
    path.write_text(TABLE)
    return path


def test_a_table_becomes_a_reference_that_info_describes(
    cli: Cli, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dft.parquet"
    built = cli(
        "hull", "build", table, "--scale", "mp2020", "--licence", "CC BY 4.0",
        "--out", out, "--json",
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["counts"] == {
        "rows": 5, "entries": 4, "higher_than_another": 1,
        "without_energy": 0, "without_element": 0,
    }  # fmt: skip
    told = json.loads(cli("hull", "info", out, "--json").stdout)
    assert told["elements"] == ["Na", "Cl"]
    assert told["energy_scale"] == "mp2020"
    assert told["licence"] == "CC BY 4.0"
    assert "dft.csv" in cli("hull", "info", out).stdout


def test_a_potential_makes_a_reference_and_goes_on_where_it_was(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "toy.parquet"
    arguments = ("hull", "build", "textbook", "--relax", "spheres", "--leave-out", "--out", out)
    built = cli(*arguments)
    assert built.returncode == 0, built.stderr
    log = tmp_path / "toy.parquet.energies.jsonl"
    finished = log.read_text()
    assert cli(*arguments).returncode == 0
    assert log.read_text() == finished
    told = json.loads(cli("hull", "info", out, "--json").stdout)
    assert told["energy_scale"] == "toy"
    assert told["potential"]["relaxer"] == "spheres"


def test_an_evaluation_takes_the_file_and_states_what_it_is(cli: Cli, tmp_path: Path) -> None:
    table, hull = tmp_path / "pure.csv", tmp_path / "toy.parquet"
    table.write_text("formula,energy_per_atom\nCs,-0.9\nCl2,-0.8\n")
    assert cli("hull", "build", table, "--scale", "toy", "--out", hull).returncode == 0
    crystals = tmp_path / "crystals.extxyz"
    crystals.write_text(
        '2\nLattice="4.1 0 0 0 4.1 0 0 0 4.1" Properties=species:S:1:pos:R:3 pbc="T T T"\n'
        "Cs 0 0 0\nCl 2.05 2.05 2.05\n"
    )
    done = cli(
        "evaluate", crystals, "--relax", "spheres", "--hull", hull, "--reference", "none",
        "--evaluator", "stability", "--workers", 1, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["measurements"]["stability"]
    assert found["notes"]["hull"] == "toy.parquet, total energies on the scale toy"
    assert found["notes"]["hull_entries"] == 2
    assert found["notes"]["energies_corrected"] == "no"
    expected = "no calibration known for this pair of potential and hull"
    assert found["notes"]["calibration"] == expected


def test_a_file_on_another_scale_is_refused(cli: Cli, table: Path, tmp_path: Path) -> None:
    hull = tmp_path / "dft.parquet"
    assert cli("hull", "build", table, "--scale", "r2scan", "--out", hull).returncode == 0
    (tmp_path / "a.cif").write_text("")
    done = cli("evaluate", tmp_path / "a.cif", "--relax", "spheres", "--hull", hull)
    assert done.returncode == 2
    assert "'r2scan'" in done.stderr
    assert "'toy'" in done.stderr


@pytest.mark.parametrize(
    ("title", "scale", "remark"),
    [("MP2020correction", "mp2020", ""), ("TRI2024correction", "tri2024", "issue 251")],
)
def test_a_reference_of_mattergen_becomes_one_of_ours(
    cli: Cli, tmp_path: Path, title: str, scale: str, remark: str
) -> None:
    lmdb = pytest.importorskip("lmdb")
    values: dict[str, object] = {"name": title, "chemical_systems": ["Na", "Cl", "Cl-Na"]}
    for system, formula, energy in (("Na", "Na", -1.3), ("Cl", "Cl", nan), ("Cl-Na", "NaCl", -7.0)):
        values[f"{system}.reduced_formulas"] = [formula]
        values[f"{system}.{formula}.length"] = 1
        values[f"{system}.{formula}.0"] = {
            "energy": energy,
            "correction": -0.4,
            "composition": dict.fromkeys(system.split("-"), 1.0),
        }
    plain = tmp_path / "reference"
    environment = lmdb.open(str(plain), subdir=False, map_size=1 << 24, lock=False)
    with environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    environment.close()
    packed, out = tmp_path / "reference.gz", tmp_path / "mattergen.parquet"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    done = cli("hull", "build", packed, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["energy_scale"] == scale
    # Chlorine has no energy there, so no compound of it has a distance.
    assert told["counts"]["without_energy"] == told["counts"]["without_element"] == 1
    assert remark in told.get("remarks", "")
    read = pq.read_table(out).to_pylist()
    assert read == [{"composition": "Na1", "energy_per_atom": pytest.approx(-1.7)}]


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        (TABLE, (), "add --scale mp2020"),
        ("formula,energy\nNa,1\n", ("--scale", "mp2020"), "no column energy_per_atom"),
        (TABLE + "NaCl,\n", ("--scale", "mp2020"), "row 5 (Na1Cl1) has no energy"),
        (TABLE + "KCl,-3.0\n", ("--scale", "mp2020"), "K: no row is of the pure element"),
        (TABLE + "Nacl,-3.0\n", ("--scale", "mp2020"), "Nacl"),
        ("version https://git-lfs.github.com/spec/v1\n", ("--scale", "mp2020"), "git lfs pull"),
    ],
)
def test_what_cannot_be_a_hull_says_why(
    cli: Cli, tmp_path: Path, text: str, options: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "dft.csv").write_text(text)
    done = cli("hull", "build", tmp_path / "dft.csv", *options, "--out", tmp_path / "h.parquet")
    assert done.returncode == 2
    assert complaint in done.stderr
    assert not (tmp_path / "h.parquet").exists()
