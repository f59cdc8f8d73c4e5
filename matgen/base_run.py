"""The run that another one starts from: what it hands on, and what cannot change on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from matgen.errors import BadOptions
from matgen.models.store import SHIPPED, find_model
from matgen.roles.backbone import Backbone
from matgen.roles.component import Component
from matgen.roles.condition import Condition
from matgen.roles.dataset import DatasetSource
from matgen.run_dir import Run, load_run

if TYPE_CHECKING:
    from matgen.catalog import Catalog

C = TypeVar("C", bound=Component)


@dataclass(frozen=True, eq=False)
class BaseRun:
    """A run whose best weights another one starts from.

    Attributes:
        name: Its folder, whole, or ``SHIPPED``: how it is found again.
        run: What its run.json says.
    """

    name: str
    run: Run

    @classmethod
    def load(cls, name: str, catalog: Catalog) -> BaseRun:
        """Read a run by its folder or ``SHIPPED``.

        Raises:
            BadFile, NewerFormat, UnknownName: see ``load_run``.
        """
        shipped = name == SHIPPED
        folder = find_model(name)
        return cls(SHIPPED if shipped else str(folder.resolve()), load_run(folder, catalog))

    def dataset(
        self,
        catalog: Catalog,
        fields: Mapping[str, Any],  # settings as typed
        columns: Sequence[tuple[str, str]],
    ) -> DatasetSource:
        """Return the data it learned from.

        Args:
            fields: Settings to change.
            columns: Title and unit of further columns to read.
        """
        had = catalog.restore(self.run.info["dataset"])
        assert isinstance(had, DatasetSource)
        given = dict(fields)
        if columns and "column_units" in type(had).model_fields:
            units = had.model_dump()["column_units"]
            given["column_units"] = {**units, **dict(columns), **given.get("column_units", {})}
        return changed(catalog, had, given)

    def backbone(
        self,
        catalog: Catalog,
        name: str | None,
        fields: Mapping[str, Any],  # settings as typed
    ) -> Backbone:
        """Return its backbone.

        Args:
            name: The one asked for, if any was.
            fields: Settings to change.

        Raises:
            BadOptions: another backbone, or a change after which the weights mean nothing.
        """
        had = self.run.spec.backbone
        use = catalog.qualified_name(had)
        if name is not None and catalog.resolve("backbone", name) != use:
            raise BadOptions(
                f"{self.name} was trained with the backbone {use}, and its weights fit no other; "
                "leave --backbone out"
            )
        chosen = changed(catalog, had, fields)
        for field in type(had).model_fields:
            before, now = getattr(had, field), getattr(chosen, field)
            if before != now and field not in had.free_to_change:
                free = ", ".join(sorted(had.free_to_change)) or "none of its settings"
                raise BadOptions(
                    f"{self.name} was trained with backbone.{field} = {before}, not {now}, and its "
                    f"weights fit no other; leave it as it was ({free} can change)"
                )
        return chosen

    def conditions(
        self,
        catalog: Catalog,
        fields: Mapping[str, Mapping[str, Any]],  # settings as typed
        asked: Sequence[Condition],
    ) -> tuple[Condition, ...]:
        """Return its conditions, in their slots, then those that it does not have.

        Args:
            fields: Label to settings to change: those of the role alone, which say what data are
                used; others would change what its values mean.
            asked: Conditions asked for by name.

        Raises:
            BadOptions: one would get another meaning.
        """
        kept = [self._kept(catalog, c, fields.get(c.label, {})) for c in self.run.spec.conditions]
        by_label = {condition.label: condition for condition in kept}
        for condition in asked:
            had = by_label.get(condition.label)
            if had is not None and _meaning(had) != _meaning(condition):
                raise BadOptions(
                    f"{self.name} has a condition {had.label!r} already: "
                    f"{catalog.qualified_name(had)} in {had.measured_in!r}, not "
                    f"{catalog.qualified_name(condition)} in {condition.measured_in!r}; ask for "
                    "that one, or give a column another title"
                )
        return (*kept, *(c for c in asked if c.label not in by_label))

    def _kept(
        self,
        catalog: Catalog,
        had: Condition,
        fields: Mapping[str, Any],  # settings as typed
    ) -> Condition:
        for field in fields.keys() - Condition.model_fields.keys():
            before = getattr(had, field, None)
            if field in type(had).model_fields and fields[field] != before:
                raise BadOptions(
                    f"{self.name} learned the condition {had.label!r} with {field} = {before}; "
                    f"with {fields[field]} its values would mean something else: leave --set "
                    f"condition.{had.label}.{field} out"
                )
        return changed(catalog, had, fields)


def changed(
    catalog: Catalog,
    component: C,
    fields: Mapping[str, Any],  # settings as typed
) -> C:
    """Return a component with some settings changed; registry.toml has no say in it.

    Raises:
        BadOptions: a setting that it does not have, or a value that it refuses.
    """
    if not fields:
        return component
    saved = catalog.dump(component)
    other = catalog.restore({**saved, "settings": {**saved["settings"], **fields}})
    assert isinstance(other, type(component))
    return other


def _meaning(condition: Condition) -> tuple[object, ...]:
    return type(condition), condition.reads, condition.measured_in
