"""A chunk of records to tokens and features: what a worker does, and the file that it leaves.

Axis letters: R sequences of a chunk, T tokens of all of them.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgen.atomic import replacing
from matgen.crystal.cell import canonical_cell
from matgen.crystal.checks import check_crystal
from matgen.crystal.oxidation import OxidationAssigner
from matgen.data.features import Features, column_features
from matgen.data.record_columns import RecordColumns
from matgen.errors import BadFile, CrystalError, OutsideRange
from matgen.records import Crystal, PropertyValue, Record, Tokens

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile

    from matgen.data.prepare_plan import PreparePlan
    from matgen.roles.condition import Condition

Column = list[PropertyValue | None]
"""Values of one condition, None where unknown."""


@dataclass
class Part:
    """What a chunk became.

    Attributes:
        first: Number of its first record.
        names: (R,) ids of the records kept.
        lengths: (R,) tokens per sequence.
        ids: (T,) tokens, in the store's dtype.
        values: (T,) float32 of continuous tokens, or None.
        columns: Per condition its (R,) values.
        features: Per condition, under the conditions of the plan.
        dropped: Id, kind and reason of every record left out.
        how: How many crystals got their oxidation states in which way.
    """

    first: int
    names: list[str] = field(default_factory=list)
    lengths: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    ids: NDArray[np.integer[Any]] = field(default_factory=lambda: np.zeros(0, dtype=np.uint16))
    values: NDArray[np.float32] | None = None
    columns: list[Column] = field(default_factory=list)
    features: list[Features] = field(default_factory=list)
    dropped: list[tuple[str, str, str]] = field(default_factory=list)
    how: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Standardise:
    """The task of a worker that only wants the canonical crystals of a chunk."""

    plan: PreparePlan

    def __call__(self, chunk: tuple[int, RecordColumns]) -> RecordColumns:
        """Return the records whose crystals are crystals, in canonical cells."""
        first, columns = chunk
        kept = standard_records(self.plan, columns, Part(first))
        return RecordColumns.of([record for _, record, _ in kept])


@dataclass(frozen=True)
class Encode:
    """The task of a worker: a chunk of records to arrays."""

    plan: PreparePlan

    def __call__(self, chunk: tuple[int, RecordColumns]) -> Part:
        """Return the part of a chunk.

        Raises:
            BadOptions: a condition cannot use a value of the data.
        """
        first, columns = chunk
        plan = self.plan
        part = Part(first)
        records, hows, rngs = [], [], []
        for offset, record, how in standard_records(plan, columns, part):
            records.append(record)
            hows.append(how)
            rngs.append(np.random.default_rng([plan.seed, 0, first + offset]))
        outcomes = plan.representation.encode_batch(
            [record.crystal for record in records], plan.ordering, rngs
        )
        kept: list[Record] = []
        written: list[Tokens] = []
        for record, how, outcome in zip(records, hows, outcomes, strict=True):
            if isinstance(outcome, CrystalError):
                part.dropped.append((record.id, _kind(outcome), str(outcome)))
            else:
                part.how[how] += 1
                kept.append(record)
                written.append(outcome)
        part.names = [record.id for record in kept]
        part.lengths = np.array([len(tokens) for tokens in written], dtype=np.int32)
        part.ids = _joined([tokens.ids for tokens in written], plan.id_dtype)
        values = [tokens.values for tokens in written if tokens.values is not None]
        part.values = _joined(values, np.float32) if values else None
        part.columns = [[_value(c, record) for record in kept] for c in plan.conditions]
        part.features = [
            column_features(condition, column, part.names)
            for condition, column in zip(plan.conditions, part.columns, strict=True)
        ]
        return part


def standard_records(
    plan: PreparePlan, columns: RecordColumns, part: Part
) -> Iterator[tuple[int, Record, str]]:
    """Yield place, record with a canonical crystal, and how that got its oxidation states.

    What is no crystal goes to ``part.dropped``.
    """
    assigner = OxidationAssigner()
    for offset, record in enumerate(columns.records()):
        try:
            crystal, how = _standard(record.crystal, assigner, is_reduced=plan.dataset.reduced)
        except CrystalError as error:
            part.dropped.append((record.id, _kind(error), str(error)))
            continue
        yield offset, Record(record.id, crystal, record.properties, record.sources), how


def _standard(
    crystal: Crystal, assigner: OxidationAssigner, *, is_reduced: bool
) -> tuple[Crystal, str]:
    check_crystal(crystal)
    if not is_reduced:
        crystal = canonical_cell(crystal)
    if crystal.oxidation is not None:
        return crystal, "given"
    assignment = assigner.assign(crystal)
    return crystal.with_oxidation(assignment.oxidation), assignment.how


def _kind(error: CrystalError) -> str:
    return "outside range" if isinstance(error, OutsideRange) else "bad crystal"


def _value(condition: Condition, record: Record) -> PropertyValue | None:
    """Return the value of a condition for a record; None where it is not known."""
    if condition.reads is None:
        value = condition.achieved(record.crystal)
    else:
        value = record.properties.get(condition.reads)
        source = record.sources.get(condition.reads)
        if condition.sources and source is not None and source not in condition.sources:
            return None
    if value is None or isinstance(value, str):
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    # Not a number, in a table or from a formula, is how "not known" is often written.
    return number if math.isfinite(number) else None


def _joined(arrays: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:  # any numpy dtype
    return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype=dtype)


def save_part(part: Part, path: Path) -> None:
    """Write a part as one npz of plain arrays."""
    arrays: dict[str, NDArray[Any]] = {"ids": part.ids, "lengths": part.lengths}
    if part.values is not None:
        arrays["values"] = part.values
    texts: dict[str, Column] = {}
    for i, (column, features) in enumerate(zip(part.columns, part.features, strict=True)):
        if any(isinstance(value, str) for value in column):
            texts[str(i)] = column
        else:
            arrays[f"column_{i}"] = np.array(
                [math.nan if value is None else value for value in column], dtype=np.float64
            )
        arrays |= {f"feature_{i}_{name}": array for name, array in features.arrays().items()}
    notes = {
        "first": part.first,
        "names": part.names,
        "dropped": part.dropped,
        "how": dict(part.how),
        "n_conditions": len(part.columns),
    }
    for name, note in (("notes", notes), ("texts", texts)):
        arrays[name] = np.frombuffer(json.dumps(note).encode(), dtype=np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


class SavedPart:
    """A part on disk. Arrays are read when they are asked for, within ``opened``.

    Attributes:
        n_sequences: How many sequences it holds.
    """

    def __init__(self, path: Path) -> None:
        """Look at the file.

        Raises:
            BadFile: damaged; so does every method.
        """
        self._path = path
        self._file: NpzFile | None = None
        with self.opened():
            self.n_sequences = len(self.array("lengths"))

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the file open."""
        try:
            file = np.load(self._path, allow_pickle=False)
        except _DAMAGE as error:
            raise self._damaged(error) from None
        with file:
            self._file = file
            yield
        self._file = None

    def notes(self) -> dict[str, Any]:  # JSON values
        """Return names, dropped records and counts."""
        notes: dict[str, Any] = json.loads(self.array("notes").tobytes())  # JSON values
        return notes

    def array(self, name: str) -> NDArray[Any]:
        """Return ``ids``, ``lengths`` or ``values``."""
        assert self._file is not None
        try:
            array: NDArray[Any] = self._file[name]
        except _DAMAGE as error:
            raise self._damaged(error) from None
        return array

    def features(self, condition: int) -> Features:
        """Return the features of a condition."""
        assert self._file is not None
        prefix = f"feature_{condition}_"
        names = [name for name in self._file.files if name.startswith(prefix)]
        return Features(**{name.removeprefix(prefix): self.array(name) for name in names})

    def column(self, condition: int) -> Column:
        """Return the values of a condition, None where unknown."""
        texts: dict[str, Column] = json.loads(self.array("texts").tobytes())
        if str(condition) in texts:
            return texts[str(condition)]
        numbers = self.array(f"column_{condition}").tolist()
        return [None if math.isnan(number) else number for number in numbers]

    def _damaged(self, error: Exception) -> BadFile:
        return BadFile(f"unfinished work in {self._path} is damaged ({error}); delete it")


_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)
