"""The page on constraints: its example is a constraint, and its rules are those registered."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from matgen.catalog import Catalog
from matgen.testing import check_constraint
from matgen_materium.atoms import Atoms

PAGE = (Path(__file__).parents[3] / "docs" / "constraints.md").read_text()
[EXAMPLE] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CATALOG = Catalog.load()


def test_the_example_is_a_constraint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "one_metal.py"  # a file: settings take their help from the source
    file.write_text(EXAMPLE)
    spec = importlib.util.spec_from_file_location("one_metal", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "one_metal", module)
    spec.loader.exec_module(module)
    [rule] = module.matgen_constraints()
    check_constraint(rule(), Atoms(max_sites=5))


def test_every_rule_of_the_table_reads_its_text_and_none_is_left_out() -> None:
    rows = re.findall(r"^\| (`\w+.*?) \| `--", PAGE, re.MULTILINE)
    written = [text for row in rows for text in re.findall(r"`(.*?)`", row)]
    for text in written:
        name, _, value = text.partition("=")
        CATALOG.get("constraint", name).parse(value)  # type: ignore[attr-defined]  # the role says so
    registered = {name for name in CATALOG.names("constraint") if name.startswith("constraints:")}
    assert {f"constraints:{text.partition('=')[0]}" for text in written} == registered
