"""What may not be imported when; each in an interpreter of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


def imported_by(code: str, names: list[str]) -> list[str]:
    """Which of these modules are loaded after running code."""
    script = f"import sys\n{code}\nprint([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return eval(done.stdout.splitlines()[-1])


HELP = """
from matgen.commands import app
try:
    app(["--help"])
except SystemExit:
    pass
"""


def test_help_imports_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "pymatgen", "spglib", "ase", "pydantic", "matgen_materium"]
    assert imported_by(HELP, heavy) == []


@pytest.mark.parametrize(
    "code",
    [
        "import matgen.training.loop, matgen.data.token_store, matgen.run_dir",
        "import matgen.generation.generate, matgen.generation.model_decoder",
        "import matgen_materium.atoms, matgen_materium.llama, matgen_samplers.ancestral",
    ],
)
def test_training_and_sampling_import_no_crystallography_library(code: str) -> None:
    assert imported_by(code, ["pymatgen", "spglib", "ase", "moyopy"]) == []


def test_importing_matgen_changes_no_global_state() -> None:
    code = """
import os, random, warnings, logging, signal
import numpy, pluggy, pydantic
def state():
    return (dict(os.environ), random.getstate(), list(warnings.filters), logging.root.handlers[:],
            os.getcwd(), signal.getsignal(signal.SIGINT))
before = state()
import matgen, matgen.catalog, matgen.records, matgen.roles.representation
assert before == state()
"""
    assert imported_by(code, ["torch"]) == []


def test_no_library_code_reads_the_environment_or_prints() -> None:
    root = Path(__file__).parents[2]
    sources = [*root.glob("matgen/**/*.py"), *root.glob("plugins/**/*.py")]
    reads = re.compile(r"os\.environ|os\.getenv|(?<![\w.])print\(")
    assert sources
    assert [p for p in sources if reads.search(p.read_text(encoding="utf-8"))] == []
