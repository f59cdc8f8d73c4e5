"""File names and sizes of the house."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).exists()]


def test_no_file_is_a_dumping_ground() -> None:
    dumps = {"utils", "helpers", "common", "misc", "base"}
    tails = ("_new", "_v2", "_legacy", "_old")
    bad = [p for p in tracked() if p.stem in dumps or p.stem.endswith(tails)]
    assert bad == []


def test_tracked_files_stay_under_55_megabytes() -> None:
    assert sum(path.stat().st_size for path in tracked()) < 55e6


def test_nothing_tracked_is_pickled() -> None:
    assert [p for p in tracked() if p.suffix in {".pkl", ".pickle", ".pt", ".pth", ".ckpt"}] == []
