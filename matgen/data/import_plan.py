"""What to import and how: the settings that decide the result, and their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from matgen import __version__
from matgen.data.imported_folder import RESERVED_COLUMNS, SOURCE_SUFFIX
from matgen.data.own_properties import COMPUTED_BY, OWN_PROPERTIES
from matgen.errors import BadOptions
from matgen.io.crystal_table import ID_COLUMNS
from matgen.io.entries import MAX_SITES
from matgen.io.formats import stem_of
from matgen.io.sources import listing
from matgen.records import LabelSource

if TYPE_CHECKING:
    from matgen.roles.dataset import DatasetSource

WORK_FORMAT: Final = 2
"""Raised whenever the same sources and settings would give other part files."""


@dataclass(frozen=True)
class ImportSource:
    """A file, folder or archive, or a dataset.

    Attributes:
        given: As it was typed.
        read: Where it is, or the dataset it stands for.
        label_source: Where the labels of a file are from; a dataset says that itself.
    """

    given: str
    read: Path | DatasetSource
    label_source: LabelSource

    @classmethod
    def of(
        cls, given: str, read: Path | DatasetSource, label_source: LabelSource | None
    ) -> ImportSource:
        """Return the source; labels of a file are from what the file is called, unless said.

        Raises:
            BadOptions: a label source for a dataset, which has its own.
        """
        if isinstance(read, Path):
            name = stem_of(read.name) or "files"
            return cls(given, read, label_source or LabelSource(name))
        if label_source is not None:
            raise BadOptions(
                f"--source for {given}: a dataset says itself where its labels are from"
            )
        return cls(given, read, LabelSource(read.name))

    @property
    def n_bytes(self) -> int | None:
        """Size of the files; of a dataset nobody knows."""
        if not isinstance(self.read, Path):
            return None
        return sum(size for _, size, _ in self.listing())

    def told(self) -> dict[str, object]:
        """Return what dataset.json says of it."""
        told: dict[str, object] = {"given": self.given, "label_source": str(self.label_source)}
        if isinstance(self.read, Path):
            return {**told, "n_bytes": self.n_bytes}
        return {
            **told,
            "dataset": self.read.name,
            "fingerprint": self.read.fingerprint(),
            "licence": self.read.licence,
        }

    def listing(self) -> list[tuple[str, int, int]]:
        """Return the files with sizes and times of change; of a dataset its fingerprint."""
        if isinstance(self.read, Path):
            return listing(self.read)
        return [(self.read.fingerprint(), 0, 0)]


@dataclass(frozen=True)
class ImportSettings:
    """How to import.

    Attributes:
        units: Column of the files to its unit; columns that are not here are left out.
        computed: Names of ``OWN_PROPERTIES`` to compute.
        cell: ``given`` keeps the cell of the file, ``canonical`` writes the canonical one.
        max_sites: Cells with more sites are left out.
        val_fraction: Share of reduced formulas held out where the source has no split.
    """

    units: Mapping[str, str] = field(default_factory=dict)
    computed: tuple[str, ...] = ()
    cell: Literal["given", "canonical"] = "given"
    max_sites: int = MAX_SITES
    val_fraction: float = 0.1


@dataclass(frozen=True)
class Columns:
    """The properties of the dataset that an import makes.

    Attributes:
        units: Property to unit, in the order of the columns.
        label_sources: Property to the sources it may come from, by name.
    """

    units: dict[str, str]
    label_sources: dict[str, dict[str, LabelSource]]

    @classmethod
    def of(cls, sources: tuple[ImportSource, ...], settings: ImportSettings) -> Columns:
        """Return the columns that sources and settings give.

        Raises:
            BadOptions: one property in two units or both read and computed, a name that the dataset
                needs itself, or a source described in two ways.
        """
        columns = cls({}, {})
        for source in sources:
            if isinstance(source.read, Path):
                for title, unit in settings.units.items():
                    columns._add(title, unit, source.label_source, "--unit")
                continue
            for title, unit in source.read.units.items():
                if title not in settings.computed:
                    for label_source in source.read.label_sources[title]:
                        columns._add(title, unit, label_source, source.given)
        for title in settings.computed:
            if title in settings.units:
                raise BadOptions(
                    f"{title} would be both computed and read; leave out --unit {title}:… or "
                    "--properties"
                )
            columns._add(title, OWN_PROPERTIES[title].unit, LabelSource(COMPUTED_BY), "computed")
        return columns

    def read_from(self, source: ImportSource, settings: ImportSettings) -> dict[str, str]:
        """Return the properties read from a source, each with the name of its label source."""
        if isinstance(source.read, Path):
            return dict.fromkeys(settings.units, source.label_source.name)
        found = source.read.label_sources
        return {t: found[t][0].name for t in source.read.units if t not in settings.computed}

    def seen(self, labels: Mapping[str, Mapping[str, int]]) -> dict[str, tuple[LabelSource, ...]]:
        """Return the label sources that values really come from; where there are none, the first.

        Args:
            labels: Property to name of the source to number of values.
        """
        seen = {}
        for title, known in self.label_sources.items():
            names = [name for name in known if labels.get(title, {}).get(name)]
            others = sorted(set(labels.get(title, {})) - set(known))
            found = [known[name] for name in names] + [LabelSource(name) for name in others]
            seen[title] = tuple(found or [next(iter(known.values()))])
        return seen

    def _add(self, title: str, unit: str, label_source: LabelSource, where: str) -> None:
        if title in ID_COLUMNS:
            raise BadOptions(
                f"{where} makes a property of {title}, which names the crystals: it becomes their "
                "id without being asked for"
            )
        if title in RESERVED_COLUMNS or title.endswith(SOURCE_SUFFIX):
            raise BadOptions(
                f"{where} makes a property of {title}, a column that the dataset needs itself; "
                "give it another name in the source, or leave it out"
            )
        if self.units.setdefault(title, unit) != unit:
            raise BadOptions(
                f"{where} gives {title} in {unit!r}, another source in {self.units[title]!r}; "
                "units are never converted: import them apart"
            )
        held = self.label_sources.setdefault(title, {})
        if held.setdefault(label_source.name, label_source) != label_source:
            raise BadOptions(
                f"the label source {label_source.name!r} is once {label_source} and once "
                f"{held[label_source.name]}; give them different names (--source)"
            )


def import_digest(sources: tuple[ImportSource, ...], settings: ImportSettings) -> str:
    """Return a digest that changes with the settings and with any file of the sources."""
    digest = hashlib.sha256(
        json.dumps([WORK_FORMAT, __version__, asdict(settings)], sort_keys=True).encode()
    )
    for source in sources:
        label_source = [source.label_source.name, source.label_source.functional]
        digest.update(json.dumps([source.given, label_source]).encode())
        for row in source.listing():
            digest.update(repr(row).encode())
    return digest.hexdigest()[:16]
