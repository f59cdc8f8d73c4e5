"""What README and docs tell people to type exists: commands, options, settings, files, keys."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from matgen.catalog import Catalog
from matgen.choices import Choices, RegistryFile, shipped_file
from matgen.commands import app
from matgen.plan import TrainConfig, resolve_training
from matgen.plan_parts import parse_settings
from matgen.training.settings import TrainingSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = typer.main.get_command(app)

INDENTED = re.compile(r"^(?:    |\t)(.*)$", re.MULTILINE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)", re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def typed(page: Path) -> list[str]:
    """Return what a page says to type that begins with ``matgen``, without comments."""
    text = page.read_text()
    shells = "\n".join(code for kind, code in FENCED.findall(text) if kind in {"", "sh", "bash"})
    prose = FENCED.sub("", text)
    lines = [*INDENTED.findall(prose), *shells.splitlines(), *INLINE.findall(prose)]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    found = [re.sub(r"^\S*/(?=matgen )", "", part) for part in parts]
    return [part for part in found if part.startswith("matgen ")]


LINES = [
    pytest.param(line, id=f"{name_of(page)}: {line[:60]}") for page in PAGES for line in typed(page)
]


def split(line: str) -> tuple[list[str], Any, list[str]]:  # typer vendors its command class
    """Return the names of the command, the command, and the rest."""
    words = shlex.split(line, comments=True)[1:]
    command: Any = COMMANDS
    while words[:1] == ["--registry"]:
        words = words[2:]
    names: list[str] = []
    while words and words[0] in getattr(command, "commands", {}):
        names.append(words[0])
        command = command.commands[words.pop(0)]
    # `matgen evaluate FILE` is a command although `matgen evaluate compare` is one, too.
    if words and names == ["evaluate"]:
        command = command.commands["crystals"]
    return names, command, words


def values(line: str, option: str) -> list[str]:
    words = shlex.split(line, comments=True)
    return [words[i + 1] for i, word in enumerate(words[:-1]) if word == option]


def test_there_are_commands_to_check() -> None:
    assert len(LINES) > 30


@pytest.mark.parametrize("line", LINES)
def test_a_command_line_in_the_docs_has_existing_commands_options_and_values(line: str) -> None:
    names, command, words = split(line)
    if words[:1] in (["--help"], ["NAME"]) or (names and not words):
        return  # only named; or any command
    assert names, f"no command is called {words[0]!r}"
    command.make_context(names[-1], words)  # raises for what the command line would refuse


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_option_named_in_prose_exists(page: Path) -> None:
    named = INLINE.findall(FENCED.sub("", page.read_text()))
    found = {text.split()[0] for text in named if text.startswith("--")}
    assert found - {"--help", *options(COMMANDS)} == set()


def options(command: Any) -> set[str]:  # typer vendors its command class
    own = {name for p in command.params for name in [*p.opts, *p.secondary_opts]}
    return own.union(*(options(c) for c in getattr(command, "commands", {}).values()))


SETTINGS = [
    pytest.param(line, setting, id=f"{name_of(page)}: {setting}")
    for page in PAGES
    for line in [*typed(page), *INLINE.findall(page.read_text())]
    for setting in (values(line, "--set") if "--set " in line and line.count("'") % 2 == 0 else ())
    if "=" in setting and not setting.isupper() and "COMPONENT" not in setting
]


@pytest.mark.parametrize(("line", "setting"), SETTINGS)
def test_every_setting_in_the_docs_exists_and_takes_the_value(line: str, setting: str) -> None:
    catalog = Catalog.load()
    [(key, value)] = parse_settings([setting]).items()
    component, _, field = key.rpartition(".")
    if component == "training":
        TrainingSettings.model_validate({field: value})
        return
    role, chosen = component_of(line, component, catalog)
    fields = catalog.get(role, chosen).model_fields
    assert field in fields
    given = {name: "x" for name, info in fields.items() if info.is_required()}
    catalog.build(role, chosen, {**given, field: value})


def component_of(line: str, component: str, catalog: Catalog) -> tuple[str, str]:
    """Return role and name of the component that ``component.setting`` means on this line."""
    if component.startswith("condition."):
        return "condition", component.removeprefix("condition.")
    if component in {"reference", "dataset"}:
        fetched = re.findall(r"^matgen data fetch (\w+)", line)
        chosen = [*values(line, f"--{component}"), *fetched, catalog.choices.default("dataset")][0]
        is_file = Path(chosen).suffix != ""
        return "dataset", catalog.choices.default("dataset_of_files") if is_file else chosen
    if component == "relaxer":
        return "relaxer", [*values(line, "--relax"), "chgnet"][0]
    if component == "ordering" and not values(line, "--ordering"):
        return "ordering", "random" if "redraw" in line else "high"
    if component == "generator":
        return "generator", [*values(line, "--generator"), "ion_exchange"][0]
    if component == "calculation":
        return "calculation", [*values(line, "--calculation"), "band_gap"][0]
    if component in {"representation", "ordering", "backbone", "sampler", "hull"}:
        default = catalog.choices.default(component)
        return component, [*values(line, f"--{component}"), default][0]
    return "evaluator", component


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_points_to_something(page: Path) -> None:
    targets = [t for t in LINK.findall(FENCED.sub("", page.read_text())) if "://" not in t]
    missing = [t for t in targets if not (page.parent / t.partition("#")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_into_a_page_names_one_of_its_headings(page: Path) -> None:
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        if anchor and "://" not in target:
            text = (page if not path else page.parent / path).read_text()
            headings = [h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)]
            assert anchor in headings


def toml_blocks(first_line: str) -> list[str]:
    blocks = [code for page in PAGES for kind, code in FENCED.findall(page.read_text())]
    return [code for code in blocks if code.startswith(first_line)]


def test_the_run_toml_in_the_docs_makes_a_plan(tmp_path: Path) -> None:
    [text] = toml_blocks("# run.toml\n")
    file = tmp_path / "run.toml"
    file.write_text(text)
    config = TrainConfig.from_toml(file)
    plan = resolve_training(config, Catalog.load(), gpu=False)
    assert [condition.label for condition in plan.spec.conditions] == list(config.conditions or ())


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_recipes_make_a_plan(path: Path) -> None:
    plan = resolve_training(TrainConfig.from_toml(path), Catalog.load(), gpu=False)
    assert plan.dataset.name == "mp_le20"


def test_the_registry_toml_in_the_docs_is_one(tmp_path: Path) -> None:
    [text] = toml_blocks("# registry.toml\n")
    file = tmp_path / "registry.toml"
    file.write_text(text)
    catalog = Catalog(Choices.load([shipped_file(), file]), Catalog.load()._points)
    RegistryFile.model_validate(tomllib.loads(text))
    for role in ("ordering", "sampler"):
        catalog.build(role, catalog.choices.default(role))
    for name in tomllib.loads(text)["aliases"]["condition"].values():
        catalog.get("condition", name)
