"""Splits of any dataset that never have one structure on two sides.

The side of a row is drawn from a digest of the seed and the key of the row's group, so that it
depends neither on the order of the rows nor on which others there are, as long as the group stays.
Two passes over the dataset: one to find the groups, one to hand the records on.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.composition import chemical_system, reduced_formula
from matgen.data.left_out import ToldOnce
from matgen.data.material_table import Groups, Observer, described_table, material_groups
from matgen.errors import BadOptions
from matgen.records import PropertyValue, Record, Skipped

if TYPE_CHECKING:
    from matgen.records import Crystal
    from matgen.roles.dataset import DatasetSource, Split
    from matgen.roles.executor import Pool

By: TypeAlias = Literal["material", "formula", "system", "time"]

SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")
"""In the order of time."""
UNDATED: Final = "undated"
SHARED: Final = "shares a material"
_LEFT_OUT: Final = {3: UNDATED, 4: SHARED}
_TOLD_EVERY = 1000


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How to split.

    Attributes:
        by: ``material`` keeps together what has one reduced formula and one space group or one
            structure, ``formula`` one reduced formula, ``system`` one set of elements. ``time``
            trains on the past: cuts by a column, and leaves out later rows of earlier materials.
        val: Share held out for validation, of groups; of rows where split by time.
        test: Share held out for the test.
        seed: Other seeds, other sides.
        time_column: Property that says when: a number such as a year, or a text that sorts, such
            as 2019-03-01.
    """

    by: By
    val: float = 0.1
    test: float = 0.1
    seed: int = 0
    time_column: str = "year"

    def check(self, dataset: DatasetSource) -> None:
        """Refuse what cannot work.

        Raises:
            BadOptions: shares that leave nothing to train on, or no such column.
        """
        shares = (self.val, self.test)
        if not (all(0.0 <= share < 1.0 for share in shares) and sum(shares) < 1.0):
            raise BadOptions(
                f"val {self.val:g} and test {self.test:g} must be at least 0 and leave something "
                "to train on"
            )
        if self.by == "time" and self.time_column not in dataset.units:
            raise BadOptions(
                f"dataset {dataset.name!r} has no column {self.time_column!r} to split by time; "
                f"it has {', '.join(dataset.units) or 'none'} (--time-column)"
            )

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that will be there."""
        shares = (1.0, self.val, self.test)
        return tuple(split for split, share in zip(SPLITS, shares, strict=True) if share > 0.0)


class Assignment:
    """Which side every row of a dataset is on."""

    def __init__(self, dataset: DatasetSource, sides: NDArray[np.uint8]) -> None:
        self._dataset = dataset
        self._sides = sides

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each split, and of each reason to be in none."""
        counted = Counter(self._sides.tolist())
        kinds = {**dict(enumerate(SPLITS)), **_LEFT_OUT}
        return {kind: counted[side] for side, kind in kinds.items() if counted[side]}

    def records(
        self,
        *,
        on_skip: Callable[[Skipped], None],
        on_left_out: Callable[[Record, str], None],
    ) -> Iterator[tuple[Split, Record]]:
        """Yield every record with its split, in the order of the dataset.

        Args:
            on_skip: Called for every entry that is no crystal.
            on_left_out: Called with each record that is in no split, and why.
        """
        for record, side in zip(
            all_records(self._dataset, on_skip=on_skip), self._sides.tolist(), strict=True
        ):
            if side in _LEFT_OUT:
                on_left_out(record, _LEFT_OUT[side])
            else:
                yield SPLITS[side], record


def all_records(dataset: DatasetSource, *, on_skip: Callable[[Skipped], None]) -> Iterator[Record]:
    """Yield the records of all splits, one after the other; tell of each bad entry once."""
    told = ToldOnce(on_skip)
    for split in dataset.splits:
        yield from dataset.records(split, on_skip=told.split())


def assign(plan: SplitPlan, dataset: DatasetSource, pool: Pool, observer: Observer) -> Assignment:
    """Return the side of every row.

    Raises:
        BadOptions: shares or a column that cannot work.
    """
    plan.check(dataset)
    if plan.by in ("formula", "system"):
        key_of = _formula if plan.by == "formula" else _system
        return Assignment(dataset, _by_key(plan, dataset, key_of, observer))
    times: list[PropertyValue | None] = []

    def crystals() -> Iterator[Crystal]:
        for record in all_records(dataset, on_skip=lambda _: None):
            times.append(record.properties.get(plan.time_column))
            yield record.crystal

    with described_table(crystals(), pool, observer) as table:
        groups = material_groups(table, pool, observer)
        if plan.by == "time":
            return Assignment(dataset, _by_time(plan, times, groups))
        keys: dict[int, bytes] = {}
        for row in range(len(table)):
            group, content = groups.of(row), table.content(row)
            keys[group] = min(content, keys.get(group, content))
        sides = [_side(plan, keys[groups.of(row)]) for row in range(len(table))]
        return Assignment(dataset, np.array(sides, dtype=np.uint8))


def _by_key(
    plan: SplitPlan,
    dataset: DatasetSource,
    key_of: Callable[[Record], str],
    observer: Observer,
) -> NDArray[np.uint8]:
    sides = bytearray()
    for record in all_records(dataset, on_skip=lambda _: None):
        sides.append(_side(plan, key_of(record).encode()))
        if len(sides) % _TOLD_EVERY == 0:
            observer("groups", len(sides), None)
    observer("groups", len(sides), len(sides))
    return np.frombuffer(bytes(sides), dtype=np.uint8)


def _side(plan: SplitPlan, key: bytes) -> int:
    digest = hashlib.sha256(f"{plan.seed}\0".encode() + key).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    if draw < plan.test:
        return SPLITS.index("test")
    return SPLITS.index("val" if draw < plan.test + plan.val else "train")


def _formula(record: Record) -> str:
    return reduced_formula(record.crystal)


def _system(record: Record) -> str:
    return chemical_system(record.crystal.numbers)


def _by_time(
    plan: SplitPlan, times: Sequence[PropertyValue | None], groups: Groups
) -> NDArray[np.uint8]:
    """Return (R,) sides: cut at quantiles, equal times together on the earlier side."""
    known = [time for time in times if time is not None]
    texts = [time for time in known if isinstance(time, str)]
    if texts and len(texts) < len(known):
        raise BadOptions(f"column {plan.time_column!r} mixes numbers and texts, as {texts[0]!r}")
    if not known:
        raise BadOptions(f"column {plan.time_column!r} has no value in any row")
    if odd := [text for text in texts if not _is_date(text)]:
        raise BadOptions(
            f"column {plan.time_column!r} is no time, as {odd[0]!r}; expected numbers, or dates "
            "written as 2019-03-01"
        )
    # All numbers or all texts, as checked above.
    ordered = sorted(known)
    shares = (1.0 - plan.val - plan.test, 1.0 - plan.test)
    # The small term keeps 0.9 × 10 from counting eleven.
    last = [ordered[max(0, math.ceil(share * len(known) - 1e-9) - 1)] for share in shares]
    sides = np.full(len(times), 3, dtype=np.uint8)
    for row, time in enumerate(times):
        if time is not None:
            sides[row] = sum(time > cut for cut in last)  # type: ignore[operator]
    earliest: dict[int, int] = {}
    for row in np.flatnonzero(sides < 3).tolist():
        group, side = groups.of(row), int(sides[row])
        earliest[group] = min(side, earliest.get(group, side))
    for row in np.flatnonzero(sides < 3).tolist():
        if sides[row] > earliest[groups.of(row)]:
            sides[row] = 4
    return sides


def _is_date(text: str) -> bool:
    """Whether a text is a date as 2019, 2019-03 or 2019-03-01, with a time or not: these sort."""
    padded = f"{text}-01-01" if len(text) == 4 else f"{text}-01" if len(text) == 7 else text
    try:
        datetime.fromisoformat(padded)
    except ValueError:
        return False
    # 20190301 is a date too, but it does not sort among the others.
    return len(padded) >= 10 and padded[4] == "-"
