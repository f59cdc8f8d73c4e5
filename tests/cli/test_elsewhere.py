"""A potential in a second virtual environment, from the command line."""

from __future__ import annotations

import importlib.util
import json
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matgen import Crystal, Sample
from matgen.io.writing import write_samples
from tests.cli.conftest import Cli


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a second virtual environment; nothing is downloaded for it."""
    folder = tmp_path_factory.mktemp("envs") / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    # Also follows the .pth files there, as of an editable installation.
    lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
    mark = f"import pathlib; pathlib.Path({str(folder / 'was_here')!r}).touch()\n"
    (packages / "this.pth").write_text("".join([*lines, mark]))
    return folder / "bin" / "python"


@pytest.fixture
def crystals(tmp_path: Path) -> Path:
    path = tmp_path / "crystals.jsonl"
    fcc = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    silicon = Crystal(fcc * 5.6, np.array([[0.0] * 3, [0.25] * 3]), np.array([14, 14]))
    salt = Crystal(fcc * 5.8, np.array([[0.0] * 3, [0.52, 0.5, 0.5]]), np.array([11, 17]))
    samples = [Sample(0, silicon), Sample(1, None, error="no crystal"), Sample(2, salt)]
    write_samples(path, iter(samples), asked=3)
    return path


def registry(tmp_path: Path, potential: str, python: Path | str) -> Path:
    path = tmp_path / "registry.toml"
    path.write_text(f'[elsewhere."{potential}"]\npython = "{python}"\n')
    return path


def evaluated(
    home: Path, crystals: Path, potential: str, *, workers: int, file: Path | None = None
) -> dict[str, Any]:
    """Evaluate in a home of its own, so that no relaxation of another run is taken up."""
    home.mkdir()
    layers = [] if file is None else ["--registry", file]
    done = subprocess.run(
        [
            sys.executable, "-m", "matgen", *layers, "evaluate", crystals, "--relax", potential,
            "--hull", "none", "--reference", "none", "--evaluator", "relaxation", "--device", "cpu",
            "--workers", str(workers), "--json", "--out", home / "out",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (home / "out" / "relaxations.jsonl").read_text().splitlines()
    return {entry.pop("key"): entry | {"seconds": 0.0} for entry in map(json.loads, lines)}


def here_and_there(
    tmp_path: Path, crystals: Path, potential: str, python: Path, workers: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    mark = python.parents[1] / "was_here"
    mark.unlink(missing_ok=True)
    here = evaluated(tmp_path / "here", crystals, potential, workers=1)
    assert not mark.exists()
    file = registry(tmp_path, potential, python)
    there = evaluated(tmp_path / "there", crystals, potential, workers=workers, file=file)
    assert mark.exists()
    return here, there


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("chgnet") is None, reason="chgnet is not installed")
def test_chgnet_elsewhere_finds_what_it_finds_here_bit_for_bit(
    crystals: Path, other_python: Path, tmp_path: Path
) -> None:
    here, there = here_and_there(tmp_path, crystals, "chgnet", other_python, 1)
    assert len(here) == 2
    assert all(entry["converged"] for entry in here.values())
    assert here == there


@pytest.mark.slow
def test_every_process_of_a_pool_has_its_own(
    crystals: Path, other_python: Path, tmp_path: Path
) -> None:
    here, there = here_and_there(tmp_path, crystals, "spheres", other_python, 2)
    assert len(here) == 2
    assert here == there


def test_a_path_that_does_not_exist_is_one_line_that_names_the_key(
    cli: Cli, crystals: Path, tmp_path: Path
) -> None:
    file = registry(tmp_path, "toy:spheres", "/nowhere/bin/python")
    done = cli("--registry", file, "evaluate", crystals, "--relax", "spheres")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f'{file}: [elsewhere."toy:spheres"]: python = /nowhere/bin/python' in line


def test_the_registry_shows_where_a_program_was_named(
    cli: Cli, other_python: Path, tmp_path: Path
) -> None:
    file = registry(tmp_path, "toy:spheres", other_python)
    done = cli("--registry", file, "registry", "--origin")
    assert done.returncode == 0, done.stderr
    assert f"elsewhere.toy:spheres.python = {str(other_python)!r}    # {file}" in done.stdout
