"""Names become components, and every way a name can be wrong says so."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from matgen import Crystal, SortedOrdering, hookimpl
from matgen.catalog import Catalog
from matgen.choices import Choices, shipped_file
from matgen.errors import (
    AmbiguousName,
    BadOptions,
    NewerFormat,
    PluginProblem,
    UnknownName,
)


class High(SortedOrdering):
    """Another ordering called high."""

    name = "high"
    weight: float = 1.0

    def keys(self, crystal: Crystal) -> tuple[np.ndarray, ...]:
        return (crystal.numbers,)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module that offers one more ordering called ``high``."""
    module = ModuleType("a_plugin_of_a_test")

    @hookimpl
    def matgen_orderings() -> list[type]:
        return [High]

    module.matgen_orderings = matgen_orderings
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def catalog(*modules: str, registry: Path | None = None) -> Catalog:
    """The first-party orderings plus some modules, each under its own name."""
    points = [EntryPoint("materium", "matgen_materium", "matgen")]
    points += [EntryPoint(f"p{i}", module, "matgen") for i, module in enumerate(modules)]
    layers = [shipped_file(), *([registry] if registry else [])]
    return Catalog(Choices.load(layers), points)


def test_a_bare_name_works_while_it_is_unique() -> None:
    assert catalog().resolve("ordering", "high") == "materium:high"


def test_a_name_that_two_plugins_offer_lists_both(plugin: ModuleType) -> None:
    with pytest.raises(AmbiguousName, match="materium:high, p0:high"):
        catalog(plugin.__name__).resolve("ordering", "high")


def test_an_alias_settles_a_clash(plugin: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[aliases.ordering]\nhigh = "p0:high"\n')
    assert catalog(plugin.__name__, registry=file).get("ordering", "high") is High


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'high'\?.*known: high, low, random, xyz"):
        catalog().resolve("ordering", "hihg")


def test_a_plugin_that_fails_to_import_is_named_when_its_component_is_wanted() -> None:
    broken = catalog("no_such_module_anywhere")
    assert broken.resolve("ordering", "high") == "materium:high"
    with pytest.raises(UnknownName, match="plugin 'p0': failed to import"):
        broken.resolve("ordering", "p0:mine")


def test_a_misspelt_hook_is_a_problem_that_lists_the_hooks(monkeypatch) -> None:
    module = ModuleType("a_plugin_with_a_misspelt_hook")

    @hookimpl
    def matgen_ordering() -> list[type]:
        return []

    module.matgen_ordering = matgen_ordering
    monkeypatch.setitem(sys.modules, module.__name__, module)
    [problem] = [p.problem for p in catalog(module.__name__).plugins() if p.name == "p0"]
    assert "matgen_ordering, which is no hook" in problem


def test_a_disabled_plugin_is_not_imported(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[plugins]\ndisabled = ["p0"]\n')
    found = catalog("no_such_module_anywhere", registry=file)
    [info] = [p for p in found.plugins() if p.name == "p0"]
    assert info.problem == "disabled in registry.toml"


def test_something_that_is_no_ordering_is_a_problem_of_its_plugin_alone(plugin: ModuleType) -> None:
    plugin.matgen_orderings = hookimpl(lambda: [dict])
    found = catalog(plugin.__name__)
    assert "materium:high" in found.names("ordering")
    [problem] = [p.problem for p in found.plugins() if p.name == "p0"]
    assert "must return subclasses of Ordering" in problem
    with pytest.raises(UnknownName, match="must return subclasses of Ordering"):
        found.resolve("ordering", "p0:high")


def test_an_unknown_setting_lists_those_there_are() -> None:
    with pytest.raises(BadOptions, match="has no setting 'depth'; settings: layers"):
        catalog().build("backbone", "llama", {"depth": 3})


def test_registry_options_are_defaults_that_settings_override(
    plugin: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[options."p0:high"]\nweight = 2.0\n')
    found = catalog(plugin.__name__, registry=file)
    assert found.build("ordering", "p0:high").weight == 2.0
    assert found.build("ordering", "p0:high", {"weight": 3.0}).weight == 3.0


def test_every_component_of_the_default_set_survives_dump_and_restore() -> None:
    found = Catalog.load()
    for role in ("representation", "ordering", "backbone", "sampler"):
        for name in found.names(role):
            component = found.build(role, name)
            assert found.restore(found.dump(component)) == component


def test_a_component_saved_by_a_newer_revision_is_refused() -> None:
    found = catalog()
    saved = found.dump(found.build("ordering", "high"))
    with pytest.raises(NewerFormat, match="upgrade the plugin"):
        found.restore({**saved, "revision": 99})


def test_a_component_no_plugin_offers_cannot_be_saved() -> None:
    with pytest.raises(PluginProblem, match="offered by no plugin"):
        catalog().dump(High())


def test_a_misspelt_key_of_registry_toml_names_file_and_sections(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text("[defalts]\nordering = 'high'\n")
    with pytest.raises(BadOptions, match=r"registry\.toml: defalts"):
        catalog(registry=file)


def test_every_value_knows_the_file_that_set_it(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[defaults]\nordering = "materium:low"\n')
    origins = catalog(registry=file).choices.origins
    assert origins["defaults", "ordering"] == ("materium:low", file)
    assert origins["defaults", "sampler"][1] == shipped_file()
