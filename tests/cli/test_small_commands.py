"""The commands that only tell."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Cli


def test_plugins_lists_every_role_as_json(cli: Cli) -> None:
    told = json.loads(cli("plugins", "--json").stdout)
    assert "materium:high" in told["components"]["ordering"]
    assert all(plugin["problem"] == "" for plugin in told["plugins"])


def test_show_prints_settings_with_their_meaning(cli: Cli) -> None:
    told = cli("plugins", "show", "backbone", "llama").stdout
    assert "layers" in told
    assert "width" in told


def test_registry_origin_names_the_file_of_an_overridden_value(cli: Cli, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[defaults]\nordering = "materium:xyz"\n')
    lines = cli("--registry", mine, "registry", "--origin").stdout.splitlines()
    [line] = [line for line in lines if line.startswith("defaults.ordering")]
    assert line == f"defaults.ordering = 'materium:xyz'    # {mine}"


def test_cite_prints_the_paper_of_the_shipped_model(cli: Cli) -> None:
    assert "arXiv:2512.07486" in cli("cite").stdout


def test_an_unknown_role_lists_the_roles(cli: Cli) -> None:
    done = cli("plugins", "show", "colour", "red")
    assert done.returncode == 2
    assert "ordering" in done.stderr


def test_commands_of_plugins_are_listed_unimported_and_a_broken_one_says_so(
    tmp_path: Path,
) -> None:
    (tmp_path / "hello_matgen.py").write_text('def hello() -> None:\n    print("hello")\n')
    info = tmp_path / "hello_matgen-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hello-matgen\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[matgen.commands]\nhello = hello_matgen:hello\nbroken = no_such_module:run\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        search = os.pathsep.join([str(tmp_path), *sys.path])
        return subprocess.run(
            [sys.executable, "-m", "matgen", *arguments],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": search},
        )  # fmt: skip

    listed = run("--help")
    assert listed.returncode == 0
    assert "hello-matgen" in listed.stdout
    assert run("hello").stdout == "hello\n"
    broken = run("broken")
    assert broken.returncode == 2
    assert "cannot be imported: ModuleNotFoundError" in " ".join(broken.stderr.split())
