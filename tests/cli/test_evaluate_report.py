"""``matgen evaluate --report`` and ``matgen evaluate compare`` as people type them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow

CUBES = """2
Lattice="{0} 0 0 0 {0} 0 0 0 {0}" Properties=species:S:1:pos:R:3 pbc="T T T"
{1} 0 0 0
{2} {3} {3} {3}
"""


def _crystals(path: Path, pairs: list[tuple[str, str]], length: float = 4.1) -> Path:
    path.write_text("".join(CUBES.format(length, a, b, length / 2) for a, b in pairs))
    return path


@pytest.fixture(scope="module")
def evaluated(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    for name, pairs in {
        "mixed": [("Cs", "Cl"), ("Cs", "Cl"), ("Rb", "Br")],
        "same": [("Cs", "Cl")] * 3,
    }.items():
        done = cli(
            "evaluate", _crystals(folder / f"{name}.extxyz", pairs), "--workers", 1,
            "--evaluator", "validity", "--evaluator", "uniqueness", "--reference", "none",
            "--report", folder / f"{name}.html", "--out", folder / name,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "page to look at" in done.stderr
    return folder


def test_the_page_is_one_file_that_names_no_other(evaluated: Path) -> None:
    page = (evaluated / "mixed.html").read_text()
    assert "<title>3 samples evaluated" in page
    assert "default-src 'none'" in page
    head = page.split("<script", 1)[0]
    assert "src=" not in head.replace("-src ", "")
    assert "<link" not in head
    saved = json.loads((evaluated / "mixed" / "report.json").read_text())
    assert saved["statuses"] == {"ok": 3}


def test_evaluations_are_compared_and_written(cli: Cli, evaluated: Path) -> None:
    done = cli(
        "evaluate", "compare", evaluated / "mixed", evaluated / "same", "--out", evaluated / "both"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("comparison.html")
    assert "uniqueness.unique" in done.stdout
    for name in ("comparison.html", "comparison.md", "comparison.json"):
        assert (evaluated / "both" / name).stat().st_size > 300
    done = cli("evaluate", "compare", evaluated / "mixed", evaluated / "same", "--json")
    figures = {row["figure"]: row for row in json.loads(done.stdout)["figures"]}
    assert [value["value"] for value in figures["unique"]["values"]] == [2 / 3, 1 / 3]
    assert figures["unique"]["values"][1]["significant"] is False


def test_one_folder_or_a_wrong_one_is_one_line_and_exit_code_two(cli: Cli, evaluated: Path) -> None:
    for arguments, told in (
        ((evaluated / "mixed",), "two evaluations or more"),
        ((evaluated / "mixed", evaluated / "nothing"), "cannot read"),
    ):
        done = cli("evaluate", "compare", *arguments)
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_crystals_that_are_all_invalid_are_warned_of(cli: Cli, tmp_path: Path) -> None:
    crushed = _crystals(tmp_path / "crushed.extxyz", [("Cs", "Cl"), ("K", "F")], 0.3)
    done = cli(
        "evaluate", crushed, "--workers", 1, "--evaluator", "validity", "--reference", "none"
    )
    assert done.returncode == 0, done.stderr
    assert "Not one of the 2 crystals is a valid structure" in " ".join(done.stderr.split())
    assert "2 invalid structure" in done.stderr
    text = (tmp_path / "crushed-evaluation" / "report.md").read_text()
    assert "> **Warning:** Not one of the 2" in text


def test_usage_lines_read_as_people_type_them(cli: Cli) -> None:
    assert " matgen evaluate [OPTIONS]" in cli("evaluate", "--help").stdout
    assert "evaluate compare [OPTIONS]" in cli("evaluate", "compare", "--help").stdout


def test_help_still_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom matgen.commands import app\n"
        "try:\n    app(['evaluate', '--help'])\nexcept SystemExit:\n    pass\n"
        "print({'numpy', 'torch', 'plotly', 'pymatgen'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("set()")
