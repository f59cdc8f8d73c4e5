"""The commands that only tell."""

import json
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
