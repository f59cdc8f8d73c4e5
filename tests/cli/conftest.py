"""A tiny trained run to use the command line on; caches go to a folder of the test session."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Run ``matgen`` in an interpreter and a home of its own; returns exit code and output."""
    home = tmp_path_factory.mktemp("home")

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "matgen", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd or home,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        )

    return run


@pytest.fixture(scope="session")
def run_folder(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps of the tiny Materium model on the textbook crystals."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = cli(
        "train", "--dataset", "textbook", "--preset", "tiny", "--cond", "density",
        "--cond", "hhi", "--cond", "reduced_formula", "--cond", "materium:n_sites",
        "--max-steps", 30, "--out", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder
