"""``matgen dft``: write, run, read, with a program that stands in for pw.x."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from tests.cli.conftest import Cli
from tests.plugins.dft.given import header

FAKE = r"""#!/usr/bin/env python3
# Prints what pw.x would about a crystal that is relaxed already.
import re, sys
text = open(sys.argv[sys.argv.index("-in") + 1]).read()
cell = re.search(r"CELL_PARAMETERS angstrom\n((?:.*\n){3})", text).group(1)
sites = re.search(r"ATOMIC_POSITIONS crystal\n(.*?)K_POINTS", text, re.DOTALL).group(1)
print("number of electrons = 8.00\n!    total energy = -15.0 Ry")
print("total magnetization = 2.20 Bohr mag/cell\nabsolute magnetization = 2.30 Bohr mag/cell")
print("convergence has been achieved in 5 iterations\nBegin final coordinates")
print(f"CELL_PARAMETERS (angstrom)\n{cell}ATOMIC_POSITIONS (crystal)\n{sites}End final coordinates")
print("JOB DONE.")
"""


@pytest.fixture
def given(tmp_path: Path) -> Path:
    pseudo = tmp_path / "pseudo"
    pseudo.mkdir()
    (pseudo / "Fe.upf").write_text(header("Fe", valence=8.0))
    cells = tmp_path / "cells"
    cells.mkdir()
    for number, atoms in enumerate((bulk("Fe"), bulk("Cu"), bulk("Fe", cubic=True))):
        write(cells / f"{number}.cif", atoms)
    fake = tmp_path / "pw.fake"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    return tmp_path


def test_write_run_and_read(cli: Cli, given: Path) -> None:
    out = given / "moments"
    line = ("dft", "write", given / "cells", "--calculation", "magnetic_density")
    written = cli(*line, "--pseudo", given / "pseudo", "--out", out, "--json")
    assert written.returncode == 0, written.stderr
    rows = json.loads(written.stdout)["results"]
    assert [row["status"].split(" in /")[0] for row in rows] == [
        "waiting for relax",
        "failed: no PBE pseudopotential of Cu",
        "waiting for relax",
    ]
    ran = cli("dft", "run", out, "--command", given / "pw.fake", "--workers", 2, "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["statuses"] == {"done": 2, "failed": 1}
    first, _, cube = told["results"]
    assert first["magnetic_density"] == pytest.approx(2 * cube["magnetic_density"])
    again = cli("dft", "read", out, "--json")
    assert json.loads(again.stdout)["results"] == told["results"]
    assert (out / "results.csv").read_text().count("\n") == 4
    table = cli("dft", "read", out).stdout
    assert "magnetic_density (muB/A3)" in table
    judged = cli("evaluate", out / "results.extxyz", "--relax", "none", "--workers", 1)
    assert judged.returncode == 0, judged.stderr


def test_mistakes_are_told_in_a_line(cli: Cli, given: Path) -> None:
    cells, out = given / "cells", given / "out"
    for words, message in (
        (("write", cells, "--out", out), "say where the pseudopotentials are: --pseudo DIR"),
        (("write", cells, "--out", out, "--pseudo", given / "no"), "no folder of pseudopotentials"),
        (("write", cells, "--out", out, "--calculation", "band_gpa"), "did you mean 'band_gap'"),
        (("write", given / "none.cif", "--out", out), "none.cif"),
        (("run", given / "cells", "--command", "pw.x"), "holds no calculations"),
        (("read", given / "cells"), "holds no calculations"),
    ):
        done = cli("dft", *words)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr
    cli("dft", "write", cells, "--out", out, "--pseudo", given / "pseudo")
    lost = cli("dft", "run", out, "--command", "pw.that.is.not.there")
    assert lost.returncode == 2
    assert "cannot run pw.that.is.not.there" in lost.stderr
