"""A prepared token store trains and samples where pymatgen, spglib and ase are not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys
for name in ("pymatgen", "spglib", "moyopy", "ase"):
    sys.modules[name] = None   # importing it now raises ImportError
from matgen.commands import app
try:
    app({arguments!r})
except SystemExit as done:
    sys.exit(done.code)
"""


def matgen(arguments: list[str], home: Path, *, blocked: bool) -> None:
    code = BLOCKED.format(arguments=arguments)
    if not blocked:
        code = code.replace('("pymatgen", "spglib", "moyopy", "ase")', "()")
    done = subprocess.run(
        [sys.executable, "-c", f"if __name__ == '__main__':\n    exec({code!r})"],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_training_and_sampling_from_stores_need_no_crystallography_library(tmp_path: Path) -> None:
    asked = ["--dataset", "textbook", "--cond", "density", "--cond", "hhi"]
    stores, run, out = (str(tmp_path / name) for name in ("stores", "run", "out.jsonl"))
    matgen(["data", "prepare", *asked, "--out", stores], tmp_path, blocked=False)
    few = ["--preset", "tiny", "--max-steps", "3"]
    train = ["train", *asked, *few, "--stores", stores, "--out", run]
    matgen(train, tmp_path, blocked=True)
    sample = ["sample", "--model", run, "--cond", "density=5", "-n", "2", "--out", out]
    matgen(sample, tmp_path, blocked=True)
    assert len(Path(out).read_text().splitlines()) == 2
