"""The documentation of plugins names every hook, and its examples run."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from matgen.roles import ROLES

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "plugins").glob("*.md"))
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(FENCE.findall(page.read_text()))
]
HOOKS = [
    node.name
    for node in ast.parse((ROOT / "matgen" / "hookspecs.py").read_text()).body
    if isinstance(node, ast.FunctionDef)
]


def sections() -> dict[str, str]:
    text = (ROOT / "docs" / "plugins" / "hooks.md").read_text()
    return dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_section_with_an_example_that_implements_it(hook: str) -> None:
    [example] = FENCE.findall(sections()[hook])
    assert f"@hookimpl\ndef {hook}():" in example


@pytest.mark.parametrize("hook", HOOKS)
def test_the_table_of_hooks_names_the_abstract_class_of_each(hook: str) -> None:
    [role] = [role for role in ROLES.values() if role.hook == hook]
    text = (ROOT / "docs" / "plugins" / "hooks.md").read_text()
    [row] = [line for line in text.splitlines() if line.startswith(f"| [`{hook}`](#{hook})")]
    assert f"| {role.name} | `{role.class_name}`" in row


@pytest.mark.parametrize("hook", HOOKS)
def test_the_table_of_hooks_lists_what_the_abstract_class_leaves_to_write(hook: str) -> None:
    [role] = [role for role in ROLES.values() if role.hook == hook]
    text = (ROOT / "docs" / "plugins" / "hooks.md").read_text()
    [row] = [line for line in text.splitlines() if line.startswith(f"| [`{hook}`](#{hook})")]
    last = row.split(" | ")[-1]
    assert {name for name in role.base().__abstractmethods__ if f"`{name}`" not in last} == set()


@pytest.mark.parametrize("code", BLOCKS)
def test_every_python_block_runs(code: str, tmp_path: Path) -> None:
    file = tmp_path / "block.py"  # a file: settings take their help from the source
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("block", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["block"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["block"]
