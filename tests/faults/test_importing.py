"""An import that is stopped, killed or runs out of disk goes on to the bytes it would have made."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from matgen.io.crystal_table import CrystalTable
from matgen.io.writing import cif_text
from tests.faults.conftest import DEADLINE_S, Start

pytestmark = pytest.mark.slow

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
DATA = Path(__file__).parents[2] / "plugins" / "matgen_datasets" / "data" / "mp_le20.parquet"


@pytest.fixture(scope="module")
def cifs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of CIFs for several pieces, one of them of no crystal."""
    folder = tmp_path_factory.mktemp("cifs")
    table = CrystalTable.read(DATA)
    for row in np.random.default_rng(3).choice(len(table), 900, replace=False):
        (folder / f"{table.ids[row]}.cif").write_text(cif_text(table.crystal(int(row))))
    (folder / "mp-0.cif").write_text("data_x\n")
    return folder


@pytest.fixture(scope="module")
def expected(
    cifs: Path, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files of an import that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = start("data", "import", cifs, "--out", out, "--workers", 1).ended()
    assert done.returncode == 0, done.stderr
    return files_of(out)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "dataset.json"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_import_goes_on_where_it_was(
    cifs: Path, expected: dict[str, bytes], tmp_path: Path, start: Start, number: int
) -> None:
    out = tmp_path / "out"
    arguments = ["data", "import", cifs, "--out", out, "--workers", 2]
    process = subprocess.Popen(
        [sys.executable, "-m", "matgen", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**ENVIRONMENT, "HOME": str(tmp_path)},
        start_new_session=True,
    )
    end = time.monotonic() + DEADLINE_S
    while not list(tmp_path.glob(".out.import-*/part-*.parquet")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    said = process.communicate(timeout=DEADLINE_S)[1]
    assert not out.exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "goes on from there" in said
        assert "Traceback" not in said
    done = start(*arguments).ended()
    assert done.returncode == 0, done.stderr
    assert "from before" in done.stderr
    assert files_of(out) == expected
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".out")] == []


def test_a_full_disk_is_one_line_and_costs_nothing_that_was_done(
    cifs: Path, expected: dict[str, bytes], tmp_path: Path, start: Start
) -> None:
    out = tmp_path / "out"
    arguments = ["data", "import", cifs, "--out", out, "--workers", 2]
    done = subprocess.run(
        [sys.executable, "-m", "matgen", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        # Python would take the half of a compiled module that it could write for the whole.
        env={**ENVIRONMENT, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        # More than the last part needs, less than the first ones do.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (18_000, 18_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: cannot write")
    assert not out.exists()
    done = start(*arguments).ended()
    assert done.returncode == 0, done.stderr
    assert files_of(out) == expected
