"""What planning shares: settings as typed, and components chosen by name or path."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from matgen.data.imported_folder import DESCRIPTION
from matgen.errors import BadFile, BadOptions, UnknownName
from matgen.roles.dataset import DatasetSource

if TYPE_CHECKING:
    from matgen.catalog import Catalog

C = TypeVar("C")


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:  # values of any TOML type
    """Return ``{"backbone.layers": 6}`` of ``["backbone.layers=6"]``; a bare word is a text."""
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or "." not in key:
            raise BadOptions(
                f"--set {text}: write COMPONENT.SETTING=VALUE, as in backbone.layers=6"
            )
        try:
            settings[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key] = value
    return settings


class Settings:
    """``component.field`` settings, handed out once each so that a leftover is noticed."""

    def __init__(self, settings: Mapping[str, Any]) -> None:  # values of any TOML type
        self._by_component: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            component, _, field = key.rpartition(".")
            self._by_component.setdefault(component, {})[field] = value

    def take(self, component: str) -> dict[str, Any]:  # values of any TOML type
        """Return what was set for a component, once."""
        return self._by_component.pop(component, {})

    def refuse_rest(self, known: str) -> None:
        """Raise BadOptions if anything was set that nobody took."""
        if self._by_component:
            left = next(iter(self._by_component))
            raise BadOptions(f"--set {left}.…: no such component in this command; use {known}")


def build_chosen(
    catalog: Catalog,
    kind: type[C],
    role: str,
    name: str | None,
    settings: Settings,
    under: Mapping[str, Any] | None = None,  # settings that --set overrides
) -> C:
    """Return a component by name, or the default of its role, with what was set for it."""
    chosen = name or catalog.choices.default(role)
    merged = {**(under or {}), **settings.take(role)}
    component = catalog.build(role, chosen, merged)
    assert isinstance(component, kind)
    return component


def resolve_dataset(catalog: Catalog, name: str, settings: Sequence[str] = ()) -> DatasetSource:
    """Return the dataset that a name, a path, or several joined by ``+`` stand for.

    Args:
        settings: ``dataset.SETTING=VALUE`` texts.

    Raises:
        UnknownName, BadFile, BadOptions: one sentence that says what to do.
    """
    taken = Settings(parse_settings(settings))
    dataset = named_dataset(catalog, name, taken.take("dataset"))
    taken.refuse_rest("dataset")
    return dataset


def named_dataset(
    catalog: Catalog,
    name: str | None,
    fields: Mapping[str, Any],  # settings as typed
    columns: Sequence[tuple[str, str]] = (),
) -> DatasetSource:
    """Return a registered dataset, the one of a file or folder, or several joined by ``+``.

    Args:
        columns: Title and unit of columns that the user named as conditions; the unit is then the
            one in the user's file.
    """
    chosen = name or catalog.choices.default("dataset")
    given = dict(fields)
    if "+" in chosen and not Path(chosen).exists():
        if not all(chosen.split("+")):
            raise BadOptions(f"{chosen!r}: a part before or after a + is empty; write NAME+NAME")
        parts = tuple(named_dataset(catalog, part, {}) for part in chosen.split("+"))
        given, chosen = {"parts": parts, **given}, "mixed"
    elif _is_path(catalog, chosen):
        given = {"path": chosen, **given}
        is_import = (Path(chosen) / DESCRIPTION).exists()
        chosen = catalog.choices.default("dataset_of_imports" if is_import else "dataset_of_files")
    if columns and "column_units" in catalog.get("dataset", chosen).model_fields:
        given["column_units"] = {**dict(columns), **given.get("column_units", {})}
    path = catalog.get("dataset", chosen).model_fields.get("path")
    if path and path.is_required() and "path" not in given:
        raise BadOptions(
            f"dataset {chosen!r} reads what is at a path: give the path itself where a dataset is "
            "named, as in matgen data info PATH or --dataset PATH"
        )
    dataset = catalog.build("dataset", chosen, given)
    assert isinstance(dataset, DatasetSource)
    return dataset


def _is_path(catalog: Catalog, name: str) -> bool:
    """Whether a dataset's name is no name but an existing file; registered names come first."""
    try:
        catalog.resolve("dataset", name)
    except UnknownName:
        if not Path(name).exists() and (Path(name).suffix or "/" in name):
            raise BadFile(f"{name} is no registered dataset, and no such file exists") from None
        return Path(name).exists()
    return False
