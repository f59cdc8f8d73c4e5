"""A dataset made by hand, offered as a plugin, and what a build needs besides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

import numpy as np

from matgen import Condition, Crystal, DatasetSource, Record, ScalarCondition, hookimpl
from matgen.catalog import GROUP, Catalog
from matgen.choices import Choices, shipped_file
from matgen.data.prepare import prepare
from matgen.data.prepare_plan import PreparePlan
from matgen.data.token_store import TokenStore
from matgen.errors import BadCrystal
from matgen.records import Skipped
from matgen.roles.dataset import Split
from matgen.roles.executor import Executor, Pool
from matgen_executors.local import LocalExecutor
from matgen_materium.atoms import Atoms
from matgen_materium.orderings import High

Flaw = Literal["many", "long", "overlap", "unreadable"]

FCC = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]]) / 4.0
ROCK_SALT = np.concatenate([FCC, FCC + np.array([0.5, 0.0, 0.0])]) % 1.0


def rock_salt(cation: int, anion: int, length_ang: float) -> Crystal:
    """Return the eight-site cell of a rock salt."""
    return Crystal(
        length_ang * np.eye(3), ROCK_SALT, np.repeat(np.array([cation, anion]), 4).astype(np.int64)
    )


class Salts(DatasetSource):
    """Seven rock salts; every other one has a hardness."""

    name = "salts"

    flaws: tuple[Flaw, ...] = ()
    """One flawed entry of each."""
    flaws_last: bool = False
    """After the salts, not before."""
    hardness_unit: str = "GPa"
    hardness: float = 2.0
    """Of the first salt; each further one that has it has one more."""

    unknown_as_nan: bool = False
    """A missing hardness is there, as a float that is no number."""

    @property
    def units(self) -> Mapping[str, str]:
        return {"hardness": self.hardness_unit}

    @property
    def reduced(self) -> bool:
        return True

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        salts = [(3, 9), (3, 17), (11, 9), (11, 17), (19, 9), (19, 17), (37, 17)]
        if not self.flaws_last:
            yield from self._flawed(on_skip)
        for place, (cation, anion) in enumerate(salts):
            known = {"hardness": self.hardness + place / 2}
            if place % 2:
                known = {"hardness": math.nan} if self.unknown_as_nan else {}
            crystal = rock_salt(cation, anion, 4.0 + 0.3 * place)
            yield Record(f"{split}-{cation}-{anion}", crystal, known)
        if self.flaws_last:
            yield from self._flawed(on_skip)

    def _flawed(self, on_skip: Callable[[Skipped], None] | None) -> Iterator[Record]:
        for flaw in self.flaws:
            yield from _flawed(flaw, on_skip)

    def fingerprint(self) -> str:
        return "salts-1"


def _flawed(flaw: Flaw, on_skip: Callable[[Skipped], None] | None) -> Iterator[Record]:
    if flaw == "many":
        sites = np.array([[x, y, z] for x in range(3) for y in range(3) for z in range(3)]) / 3.0
        yield Record("many", Crystal(9.0 * np.eye(3), sites, np.full(27, 29)))
    elif flaw == "long":
        yield Record("long", rock_salt(12, 8, 400.0))
    elif flaw == "overlap":
        sites = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.01]])
        yield Record("overlap", Crystal(4.0 * np.eye(3), sites, np.array([12, 8])))
    elif on_skip is not None:
        on_skip(Skipped("page 3", "the scan is blank"))
    else:
        raise BadCrystal("the scan is blank")


class Hardness(ScalarCondition):
    """The logarithm of a column."""

    name = "hardness"
    unit = "GPa"
    column = "hardness"

    def feature(self, value: Any) -> float:
        return math.log(value)


@hookimpl
def matgen_datasets() -> list[type[DatasetSource]]:
    return [Salts]


@hookimpl
def matgen_conditions() -> list[type[Condition]]:
    return [Hardness]


class Watched(Executor):
    """Works here; calls ``before`` with the first record's number of each piece."""

    name = "watched"
    before: Callable[[int], object]

    def open(self) -> AbstractContextManager[Pool]:
        return nullcontext(_Watched(self.before))


class _Watched(Pool):
    def __init__(self, before: Callable[[int], object]) -> None:
        self._before = before

    def map(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._before(item[0])
            yield task(item)


class PowerCut(Exception):
    """The executor stopped half way."""


def stops_at(record: int) -> Executor:
    """Return an executor that fails where this record's piece comes, as if switched off."""

    def fail(first: int) -> None:
        if first >= record:
            raise PowerCut

    return Watched(before=fail)


class Unheard:
    """Hears the progress of a build and adds it up."""

    def __init__(self) -> None:
        self.n_records = 0

    def on_chunk(self, n_records: int) -> None:
        self.n_records += n_records


def catalog() -> Catalog:
    """Return the installed plugins and this module."""
    mine = EntryPoint("tests", __name__, GROUP)
    return Catalog(Choices.load([shipped_file()]), (*entry_points(group=GROUP), mine))


def plan(**changes: Any) -> PreparePlan:
    """Return a plan for the salts; ``changes`` are its fields."""
    fields: dict[str, Any] = {
        "dataset": Salts(),
        "split": "train",
        "representation": Atoms(),
        "ordering": High(),
        "conditions": (),
    }
    return PreparePlan(**{**fields, **changes})


def built(folder: Path, executor: Executor | None = None, **changes: Any) -> TokenStore:
    """Return the store of ``plan(**changes)`` in a folder."""
    return prepare(
        plan(**changes), folder, catalog(), executor or LocalExecutor(), observer=Unheard()
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a store."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
