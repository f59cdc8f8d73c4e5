"""What is wrong with a dataset: duplicates, leakage between splits, values that cannot be.

Leakage is a row of a later split (val, test) whose reduced formula and space group, or whose
structure, a row of an earlier one has too. The space group is the dataset's own where it has one,
else computed at symprec 0.01 Å. Structures are compared in full, see ``material_table``.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from matgen.data.left_out import ToldOnce
from matgen.data.material_table import (
    Described,
    MaterialTable,
    Observer,
    describe,
    in_chunks,
    same_structures,
)
from matgen.data.plausibility import Doubt, doubts, odd_units
from matgen.records import Record, Skipped, SkippedKind
from matgen.units import CANONICAL_UNITS

if TYPE_CHECKING:
    from matgen.roles.dataset import DatasetSource, Split
    from matgen.roles.executor import Pool

UNREADABLE: Final = "unreadable entry"
SAME_ID: Final = "same id twice"
LEAKED_MATERIAL: Final = "leakage: same formula and space group"
LEAKED_STRUCTURE: Final = "leakage: same structure"
DUPLICATE: Final = "duplicate within a split: same structure"
INCOMPARABLE: Final = "structure cannot be compared"
HELD_OUT: Final = "left out: another part holds it out"
_LEFT_OUT: Final[dict[SkippedKind, str]] = {
    "unreadable": UNREADABLE,
    "same id": SAME_ID,
    "held out elsewhere": HELD_OUT,
}
LEAKAGE: Final = frozenset({LEAKED_MATERIAL, LEAKED_STRUCTURE})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        kind: One of the constants of this module, or a ``Doubt``'s.
        ids: Of the rows it is about; of leakage the earlier split's first.
        splits: Of each row; none of an entry that never became one.
    """

    kind: str
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    detail: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the line of a report."""
        return {
            "kind": self.kind,
            "ids": list(self.ids),
            "splits": list(self.splits),
            "detail": self.detail,
        }


@dataclass
class CheckSummary:
    """How much of everything was found.

    Attributes:
        counts: Findings by kind.
        rows: Records of each split.
        missing: Records that lack a property, by split and property.
        compared: Crystals whose structures were compared with all of their formula.
    """

    dataset: str
    fingerprint: str
    rows: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    missing: dict[str, dict[str, int]] = field(default_factory=dict)
    compared: int = 0

    @property
    def leakage(self) -> int:
        """Findings that are leakage between splits."""
        return sum(self.counts[kind] for kind in LEAKAGE)

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values; kinds that are always looked for are there with 0."""
        looked_for = (LEAKED_MATERIAL, LEAKED_STRUCTURE, DUPLICATE, SAME_ID, UNREADABLE)
        return {
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "rows": self.rows,
            "leakage": self.leakage,
            "findings": {**dict.fromkeys(looked_for, 0), **dict(sorted(self.counts.items()))},
            "missing": self.missing,
            "structures_compared": self.compared,
        }


def check_data(
    dataset: DatasetSource,
    pool: Pool,
    observer: Observer,
    *,
    report: Callable[[Finding], None],
    sample: int = 0,
) -> CheckSummary:
    """Check every record of every split; hand on each finding as it comes.

    Args:
        report: Called with every finding but missing properties, which are counted.
        sample: Compare the structures of only this many crystals, chosen by the digest of their
            arrays, with all others; 0 compares them all. The rest is checked on every row.
    """
    with MaterialTable() as table:
        checking = _Checking(dataset, table, report)
        for offset, chunk in pool.map(
            partial(_look_at, reduced=dataset.reduced), checking.chunks()
        ):
            checking.take(offset, chunk)
            observer("rows", len(table), None)
        observer("rows", len(table), len(table))
        checking.find_shared_materials()
        checking.find_same_structures(pool, observer, sample)
        return checking.summary


class _Checking:
    """What is known so far; rows are numbered as they come, split after split."""

    def __init__(
        self, dataset: DatasetSource, table: MaterialTable, report: Callable[[Finding], None]
    ) -> None:
        self.summary = CheckSummary(dataset.name, dataset.fingerprint())
        self._dataset = dataset
        self._table = table
        self._report = report
        self._ids: list[str] = []
        self._splits: list[Split] = []
        self._groups = bytearray()
        """The dataset's own space group of each row, 0 where it has none."""
        for name, reason in odd_units(dataset.units):
            self._tell(Finding("unit is not the canonical one", (), (), f"{name}: {reason}"))

    def chunks(self) -> Iterator[tuple[int, list[Record]]]:
        """Yield pieces of work: the number of the first row and some records."""
        for chunk in in_chunks(self._records()):
            first = len(self._ids) - len(chunk)
            for record in chunk:
                self._table.keep(record.crystal)
            yield first, chunk

    def take(self, first: int, results: Sequence[tuple[Described, list[Doubt]]]) -> None:
        """Note what the workers found about rows in order."""
        for offset, (described, found) in enumerate(results):
            row = first + offset
            self._table.add(described)
            for doubt in found:
                self._tell(self._about(doubt.kind, row, detail=doubt.detail))
            if not described.comparable:
                self._tell(self._about(INCOMPARABLE, row))

    def find_shared_materials(self) -> None:
        """Report each later row that shares formula and space group with an earlier split."""
        table = self._table
        order = {split: place for place, split in enumerate(self._dataset.splits)}
        first: dict[tuple[int, int], int] = {}
        for row in range(len(table)):
            group = self._groups[row] or table.tight[row]
            if not group:
                continue
            earlier = first.setdefault((table.formulas[row], group), row)
            if order[self._splits[earlier]] < order[self._splits[row]]:
                self._tell(self._about(LEAKED_MATERIAL, earlier, row, detail=f"number {group}"))

    def find_same_structures(self, pool: Pool, observer: Observer, sample: int) -> None:
        """Report every pair of rows with one structure."""
        chosen = self._sampled(sample)
        self.summary.compared = len(chosen) if chosen is not None else len(self._table)
        for row, other in same_structures(
            self._table,
            pool,
            observer,
            wanted=lambda i, j: chosen is None or i in chosen or j in chosen,
        ):
            alike = self._splits[row] == self._splits[other]
            self._tell(self._about(DUPLICATE if alike else LEAKED_STRUCTURE, row, other))

    def _sampled(self, sample: int) -> set[int] | None:
        if not sample:
            return None
        return set(heapq.nsmallest(sample, range(len(self._table)), key=self._table.content))

    def _records(self) -> Iterator[Record]:
        known: set[str] = set()
        told = ToldOnce(self._skipped)
        trusted = self._dataset.units.get("space_group") == CANONICAL_UNITS["space_group"]
        for split in self._dataset.splits:
            missing = self.summary.missing[split] = dict.fromkeys(self._dataset.units, 0)
            self.summary.rows[split] = 0
            for record in self._dataset.records(split, on_skip=told.split()):
                self.summary.rows[split] += 1
                if record.id in known:
                    self._tell(Finding(SAME_ID, (record.id,), (split,)))
                known.add(record.id)
                for name in missing:
                    missing[name] += name not in record.properties
                group = record.properties.get("space_group") if trusted else None
                self._ids.append(record.id)
                self._splits.append(split)
                self._groups.append(int(group) if group in range(1, 231) else 0)  # type: ignore[arg-type]  # a number, as it is among these
                yield record

    def _skipped(self, skipped: Skipped) -> None:
        ids = (skipped.id,) if skipped.id else ()
        self._tell(Finding(_LEFT_OUT[skipped.kind], ids, (), f"{skipped.source}: {skipped.reason}"))

    def _about(self, kind: str, *rows: int, detail: str = "") -> Finding:
        ids = tuple(self._ids[row] for row in rows)
        return Finding(kind, ids, tuple(self._splits[row] for row in rows), detail)

    def _tell(self, finding: Finding) -> None:
        self.summary.counts[finding.kind] += 1
        self._report(finding)


def _look_at(
    chunk: tuple[int, list[Record]], *, reduced: bool
) -> tuple[int, list[tuple[Described, list[Doubt]]]]:
    first, records = chunk
    return first, [(describe(r.crystal), doubts(r, reduced=reduced)) for r in records]
