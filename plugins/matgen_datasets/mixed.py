"""Several datasets as one, each label with the source it is from."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import get_args

from pydantic import Field, model_validator

from matgen import DatasetSource, Record
from matgen.crystal.symmetry import LOOSE_ANG, TIGHT_ANG, space_group
from matgen.data.material_table import formula_digest
from matgen.errors import BadOptions
from matgen.records import LabelSource, Skipped
from matgen.roles.dataset import Split

SPLITS: tuple[Split, ...] = get_args(Split)
_RULES = "1"
"""Raised whenever the choice or order of the rows changes with the same parts."""


class Mixed(DatasetSource):
    """Several datasets joined, as mp_le20+jarvis; conditions name the label sources they learn.

    What one part validates or tests on, no other part trains on: a row is left out if it shares
    reduced formula and space group (its own, or at a symprec of 0.01 or 0.1 Å) with a row of a
    later split of another part.
    """

    name = "mixed"

    parts: tuple[DatasetSource, ...] = Field(min_length=2)
    """The datasets; joined by + where a dataset is named."""

    @model_validator(mode="after")
    def _one_unit_each(self) -> Mixed:
        seen: dict[str, tuple[str, str]] = {}
        for part, title in zip(self.parts, self.titles, strict=True):
            for name, unit in part.units.items():
                other, had = seen.setdefault(name, (title, unit))
                if had != unit:
                    raise BadOptions(
                        f"{other} gives {name!r} in {had!r}, {title} in {unit!r}; convert one of "
                        "them before mixing"
                    )
        if any(part in self.parts[:place] for place, part in enumerate(self.parts)):
            raise BadOptions("a dataset cannot be mixed with itself; name different ones")
        return self

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """What each part is called: its name, numbered where several have the same."""
        names = [part.name for part in self.parts]
        return tuple(
            name if names.count(name) == 1 else f"{name}-{names[: i + 1].count(name)}"
            for i, name in enumerate(names)
        )

    @property
    def units(self) -> Mapping[str, str]:
        """Those of all parts."""
        return {name: unit for part in self.parts for name, unit in part.units.items()}

    @cached_property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """Those of every part that has the property, once each."""
        return {
            name: tuple(
                dict.fromkeys(
                    source for part in self._renamed for source in part.get(name, {}).values()
                )
            )
            for name in self.units
        }

    @property
    def splits(self) -> tuple[Split, ...]:
        """Every split that a part has."""
        return tuple(s for s in SPLITS if any(s in part.splits for part in self.parts))

    @property
    def reduced(self) -> bool:
        """Whether the crystals of every part are in their canonical cells."""
        return all(part.reduced for part in self.parts)

    @property
    def licence(self) -> str:
        """Those of the parts."""
        return "; ".join(
            f"{title}: {part.licence or 'not stated'}"
            for part, title in zip(self.parts, self.titles, strict=True)
        )

    def for_conditions(self, labels: frozenset[str]) -> Mixed:
        """Return the mixture of the parts with the rows that suit the conditions."""
        return Mixed(parts=tuple(part.for_conditions(labels) for part in self.parts))

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split, part after part, each in its own order.

        All parts are read once before the first record: for ids that clash, and for what is held
        out. ``on_skip`` hears of each row that another part holds out; without it these are left
        out all the same, being no damage.
        """
        clashing, held_out = self._survey(split)
        for index, (part, title) in enumerate(zip(self.parts, self.titles, strict=True)):
            if split not in part.splits:
                continue
            renamed = self._renamed[index]
            for record in part.records(split, on_skip=on_skip):
                if clash := held_out.clash(record, index):
                    if on_skip is not None:
                        other, where = clash
                        reason = (
                            f"shares reduced formula and space group with a {where} row of "
                            f"{self.titles[other]}"
                        )
                        place = f"{title}:{record.id}"
                        on_skip(Skipped(place, reason, "held out elsewhere", record.id))
                    continue
                sources = {
                    name: source.name
                    for name in record.properties
                    if (source := _source_of(record, name, renamed[name]))
                }
                prefixed = f"{title}:{record.id}" if _digest(record.id) in clashing else record.id
                yield Record(prefixed, record.crystal, record.properties, sources)

    def fingerprint(self) -> str:
        """Return a digest of those of the parts, in their order."""
        digest = hashlib.sha256("\0".join(part.fingerprint() for part in self.parts).encode())
        return f"mixed-{_RULES}-{digest.hexdigest()[:16]}"

    @cached_property
    def _renamed(self) -> list[dict[str, dict[str, LabelSource]]]:
        """For each part, property and name of a label source: what the mixture calls it.

        A source keeps its name, so that two parts may share one. The name of a dataset that is
        there several times is numbered with it, and what is called alike but has another functional
        gets the name of its part before its own.
        """
        functionals: dict[tuple[str, str], set[str]] = defaultdict(set)
        for part in self.parts:
            for name, sources in part.label_sources.items():
                for source in sources:
                    functionals[name, source.name].add(source.functional)

        def called(part: DatasetSource, title: str, name: str, source: LabelSource) -> LabelSource:
            if source.name == part.name:
                return LabelSource(title, source.functional)
            if len(functionals[name, source.name]) > 1:
                return LabelSource(f"{title}:{source.name}", source.functional)
            return source

        return [
            {
                name: {source.name: called(part, title, name, source) for source in sources}
                for name, sources in part.label_sources.items()
            }
            for part, title in zip(self.parts, self.titles, strict=True)
        ]

    def _survey(self, split: Split) -> tuple[set[int], _HeldOut]:
        """Return digests of the ids that clash, and what rows of a split may not share."""
        later = SPLITS[SPLITS.index(split) + 1 :]
        held_out = _HeldOut()
        seen: dict[int, int] = {}
        clashing: set[int] = set()
        for index, part in enumerate(self.parts):
            for other in part.splits:
                for record in part.records(other, on_skip=lambda _: None):
                    digest = _digest(record.id)
                    if seen.setdefault(digest, index) != index:
                        clashing.add(digest)
                    if other in later:
                        held_out.add(record, index, other)
        return clashing, held_out


class _HeldOut:
    """Records that other parts may not train on; symmetry is found where formulas meet."""

    def __init__(self) -> None:
        self._records: dict[int, list[tuple[int, Split, Record]]] = defaultdict(list)
        self._found: dict[int, list[tuple[int, Split, frozenset[int]]]] = {}

    def add(self, record: Record, part: int, split: Split) -> None:
        """Hold out a record of a split of a part."""
        self._records[formula_digest(record.crystal)].append((part, split, record))

    def clash(self, record: Record, part: int) -> tuple[int, Split] | None:
        """Return the other part and its split that hold out the material of a record, if any."""
        formula = formula_digest(record.crystal)
        if all(other == part for other, _, _ in self._records.get(formula, ())):
            return None
        if formula not in self._found:
            self._found[formula] = [(o, s, _groups(held)) for o, s, held in self._records[formula]]
        groups = _groups(record)
        return next(
            (
                (other, split)
                for other, split, held in self._found[formula]
                if other != part and groups & held
            ),
            None,
        )


def _groups(record: Record) -> frozenset[int]:
    """Return the space groups of the crystal at both tolerances, and the one it came with."""
    found = [space_group(record.crystal, symprec=symprec) for symprec in (TIGHT_ANG, LOOSE_ANG)]
    own = record.properties.get("space_group")
    # spglib and moyo part on one crystal in two hundred.
    return frozenset([*(g for g in found if g), *([int(own)] if isinstance(own, float) else [])])


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _source_of(record: Record, name: str, renamed: Mapping[str, LabelSource]) -> LabelSource | None:
    """Return where a value is from; None of several where the record does not say."""
    if name in record.sources:
        return renamed[record.sources[name]]
    return next(iter(renamed.values())) if len(renamed) == 1 else None
