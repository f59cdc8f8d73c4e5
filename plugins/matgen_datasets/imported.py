"""Crystals that ``matgen data import`` or ``matgen data split`` wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import cast, get_args

from matgen import DatasetSource, Record
from matgen.data.imported_folder import (
    CRYSTALS,
    SOURCE_SUFFIX,
    Description,
    sourced_properties,
)
from matgen.errors import BadCrystal, BadFile, BadOptions
from matgen.io.crystal_table import CrystalTable
from matgen.records import LabelSource, PropertyValue, Skipped
from matgen.roles.dataset import Split


class Imported(DatasetSource):
    """A folder that `matgen data import` or `matgen data split` wrote.

    Its crystals were checked when they were imported; properties, units, sources and splits are as
    the folder says.
    """

    name = "imported"

    path: str
    """Folder with a dataset.json; a relative one starts from where the command runs."""

    @cached_property
    def description(self) -> Description:
        """What the folder says of itself."""
        return Description.read(Path(self.path))

    @property
    def units(self) -> Mapping[str, str]:
        """Units that were stated at the import."""
        return self.description.units

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """Sources that were named at the import."""
        return {name: tuple(found) for name, found in self.description.label_sources.items()}

    @property
    def licence(self) -> str:
        """Licence of what the crystals were made from, where that said one."""
        return str(self.description.made_from.get("licence", ""))

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits that the folder has."""
        unknown = set(self.description.splits) - set(get_args(Split))
        if unknown:
            raise BadFile(f"{self.path} has a split {min(unknown)!r}; expected train, val or test")
        return cast("tuple[Split, ...]", tuple(self.description.splits))

    @property
    def reduced(self) -> bool:
        """Whether the crystals were put into their canonical cells at the import."""
        return self.description.reduced

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split, in the order of the file, a batch of it in memory."""
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise BadOptions(f"{self.path} has no split {split!r}; it has {known}")
        path = Path(self.path) / CRYSTALS
        sources = [title + SOURCE_SUFFIX for title in sourced_properties(self.description)]
        first = 0
        for table in CrystalTable.batches(path):
            values = _columns(table, list(self.units), path)
            origins = _columns(table, sources, path)
            sides = table.properties.get("split")
            for row, side in enumerate(sides if isinstance(sides, list) else ()):
                if side != split:
                    continue
                if row in table.misfits:
                    _refuse(table.misfits[row], f"{path}#{first + row}", on_skip)
                    continue
                named = {k.removesuffix(SOURCE_SUFFIX): str(v) for k, v in origins[row].items()}
                yield Record(table.ids[row], table.crystal(row), values[row], named)
            first += len(table)

    def fingerprint(self) -> str:
        """Return the digest that the import wrote: of every row and of what the columns are."""
        return f"imported-{self.description.fingerprint}"


def _columns(table: CrystalTable, names: list[str], path: Path) -> list[dict[str, PropertyValue]]:
    """Return, for each row, its values of some columns."""
    lacking = [name for name in (*names, "split") if name not in table.properties]
    if lacking or not table.ids:
        raise BadFile(f"{path} lacks the column {', '.join(lacking) or 'id'}; import it again")
    return replace(table, properties={n: table.properties[n] for n in names}).all_properties()


def _refuse(reason: str, source: str, on_skip: Callable[[Skipped], None] | None) -> None:
    if on_skip is None:
        raise BadCrystal(f"{source}: {reason}")
    on_skip(Skipped(source, reason))
