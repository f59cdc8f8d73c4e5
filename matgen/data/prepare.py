"""From a dataset to a token store: reduce, assign oxidation states, encode, in parallel.

The work is cut into chunks of records; a finished chunk is a file, so an interrupted build goes on
where it stopped, and a finished store is reused as long as nothing it was made from changes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from matgen.atomic import replacing, write_json, write_text
from matgen.crystal.cell import canonical_cell
from matgen.crystal.checks import check_crystal
from matgen.crystal.oxidation import OxidationAssigner
from matgen.data.token_store import FORMAT, TokenStore
from matgen.errors import BadFile, BadOptions, CrystalError, OutsideRange
from matgen.records import Crystal, PropertyValue, Record, Skipped, Tokens

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.condition import Condition
    from matgen.roles.dataset import DatasetSource, Split
    from matgen.roles.executor import Executor
    from matgen.roles.ordering import Ordering
    from matgen.roles.representation import Representation

log = logging.getLogger(__name__)

CHUNK = 2000
"""Records per piece of work: seconds of it, so little is lost and the bar moves."""


class PrepareObserver(Protocol):
    """Hears how far a build is."""

    def on_chunk(self, n_records: int) -> None:
        """A chunk of this many records is done."""


@dataclass(frozen=True)
class PreparePlan:
    """What to prepare.

    Attributes:
        conditions: Whose features to compute. Those of ``train`` are fitted to it; other splits
            take them as they are, that is, as fitted to ``train``.
        seed: Selects the permutations of a random ordering.
    """

    dataset: DatasetSource
    split: Split
    representation: Representation
    ordering: Ordering
    conditions: tuple[Condition, ...]
    seed: int = 0

    def fingerprint(self, catalog: Catalog) -> str:
        """Return 16 hex digits that change with anything the store depends on."""
        made_from = {
            "format": FORMAT,
            "dataset": catalog.dump(self.dataset),
            "records": self.dataset.fingerprint(),
            "split": self.split,
            "representation": catalog.dump(self.representation),
            "ordering": catalog.dump(self.ordering),
            "conditions": [catalog.dump(condition) for condition in self.conditions],
            "seed": self.seed,
        }
        text = json.dumps(made_from, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def prepare(
    plan: PreparePlan,
    folder: Path,
    catalog: Catalog,
    executor: Executor,
    *,
    observer: PrepareObserver,
) -> TokenStore:
    """Return the store of a plan under ``folder``, built now unless it is there already.

    Two processes that want the same store build it once: the second waits for the first.

    Args:
        folder: Holds stores; each has a folder of its own, named by split and fingerprint.

    Raises:
        BadOptions: a condition's unit or column does not fit the dataset, a condition cannot use
            a value of the data, or nothing was left.
        BadFile: unfinished work of an earlier build is damaged.
    """
    _check_units(plan)
    path = folder / f"{plan.split}-{plan.fingerprint(catalog)}"
    finished = path / "index.json"
    parts = folder / f".{path.name}.{CHUNK}.parts"
    if not finished.exists():
        with _alone(parts):
            if not finished.exists():
                work = _encode_all(plan, parts, executor, observer)
                _assemble(plan, work, path, catalog)
    # The work is in the store now; it is also here if an earlier build was killed at this point.
    shutil.rmtree(parts, ignore_errors=True)
    return TokenStore.open(path, catalog)


def _check_units(plan: PreparePlan) -> None:
    """Refuse a condition whose column the dataset lacks or gives in another unit."""
    units = plan.dataset.units
    for condition in plan.conditions:
        if condition.reads is None:
            continue
        if condition.reads not in units:
            raise BadOptions(
                f"condition {condition.label!r} reads the column {condition.reads!r}, which "
                f"dataset {plan.dataset.name!r} does not have (it has "
                f"{', '.join(sorted(units)) or 'no columns'})"
            )
        if units[condition.reads] != condition.measured_in:
            raise BadOptions(
                f"condition {condition.label!r} is in {condition.measured_in!r}, the dataset gives "
                f"{condition.reads!r} in {units[condition.reads]!r}; convert the data first"
            )
        _check_sources(condition, condition.reads, plan.dataset)


def _check_sources(condition: Condition, column: str, dataset: DatasetSource) -> None:
    """Refuse to learn one property from several sources that nobody named together."""
    offered = dataset.label_sources[column]
    names = [source.name for source in offered]
    listed = ", ".join(map(str, offered))
    how = f"--set condition.{condition.name}.sources={json.dumps(names[:1])}"
    if unknown := [name for name in condition.sources if name not in names]:
        raise BadOptions(
            f"condition {condition.label!r} names the source {unknown[0]!r}; dataset "
            f"{dataset.name!r} has {column!r} from {listed}"
        )
    if len(offered) > 1 and not condition.sources:
        raise BadOptions(
            f"dataset {dataset.name!r} mixes values of {column!r} from {listed}; name those that "
            f"condition {condition.label!r} is to learn: {how}"
        )


@dataclass(frozen=True)
class _Encode:
    """The task of a worker: a chunk of records to arrays."""

    plan: PreparePlan

    def __call__(self, chunk: tuple[int, list[Record]]) -> _Part:
        first, records = chunk
        assigner = OxidationAssigner()
        part = _Part(first)
        for offset, record in enumerate(records):
            try:
                crystal, how = self._standardise(record.crystal, assigner)
                rng = np.random.default_rng([self.plan.seed, 0, first + offset])
                tokens = self.plan.representation.encode(crystal, self.plan.ordering, rng)
            except CrystalError as error:
                kind = "outside range" if isinstance(error, OutsideRange) else "bad crystal"
                part.dropped.append((record.id, kind, str(error)))
                continue
            part.how[how] += 1
            part.names.append(record.id)
            part.tokens.append(tokens)
            part.crystals.append(crystal)
            part.values.append([self._value(c, record, crystal) for c in self.plan.conditions])
        return part

    def _standardise(self, crystal: Crystal, assigner: OxidationAssigner) -> tuple[Crystal, str]:
        check_crystal(crystal)
        if not self.plan.dataset.reduced:
            crystal = canonical_cell(crystal)
        if crystal.oxidation is not None:
            return crystal, "given"
        assignment = assigner.assign(crystal)
        return crystal.with_oxidation(assignment.oxidation), assignment.how

    @staticmethod
    def _value(condition: Condition, record: Record, crystal: Crystal) -> PropertyValue | None:
        if condition.reads is None:
            value = condition.achieved(crystal)
        else:
            value = record.properties.get(condition.reads)
            if condition.sources and record.sources.get(condition.reads) not in {
                None,
                *condition.sources,
            }:
                value = None
        # Not a number, in a table or from a formula, is how "not known" is often written.
        return None if isinstance(value, float) and not math.isfinite(value) else value


class _Part:
    """What a chunk became."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.names: list[str] = []
        self.tokens: list[Tokens] = []
        self.crystals: list[Crystal] = []
        self.values: list[list[PropertyValue | None]] = []
        self.dropped: list[tuple[str, str, str]] = []
        self.how: Counter[str] = Counter()

    def save(self, path: Path) -> None:
        """Write the part as one npz of plain arrays."""
        crystals = self.crystals
        arrays: dict[str, NDArray[Any]] = {
            "ids": _joined([t.ids for t in self.tokens], np.int64),
            "lengths": np.array([len(t) for t in self.tokens], dtype=np.int64),
            "lattice": np.array([c.lattice for c in crystals]).reshape(-1, 3, 3),
            "frac": _joined([c.frac for c in crystals], np.float64).reshape(-1, 3),
            "numbers": _joined([c.numbers for c in crystals], np.int64),
            "oxidation": _joined(
                [c.oxidation for c in crystals if c.oxidation is not None], np.int64
            ),
            "n_sites": np.array([c.n_sites for c in crystals], dtype=np.int64),
        }
        values = [t.values for t in self.tokens if t.values is not None]
        if values:
            arrays["token_values"] = _joined(values, np.float32)
        notes = {
            "names": self.names,
            "values": self.values,
            "dropped": self.dropped,
            "how": dict(self.how),
        }
        arrays["notes"] = np.frombuffer(json.dumps(notes).encode(), dtype=np.uint8)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)


@dataclass(frozen=True)
class _Work:
    """All records, encoded.

    Attributes:
        parts: Files of the chunks, in the order of the records.
        refused: Entries that never became records.
    """

    parts: Sequence[Path]
    refused: Sequence[Skipped]


@contextmanager
def _alone(parts: Path) -> Iterator[None]:
    """Keep other processes out of this build; the lock goes with its holder, however that ends."""
    parts.mkdir(parents=True, exist_ok=True)
    with (parts / "lock").open("w") as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("waiting for another process that prepares the same data in %s", parts)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _encode_all(
    plan: PreparePlan, parts: Path, executor: Executor, observer: PrepareObserver
) -> _Work:
    refused: list[Skipped] = []
    paths: list[Path] = []

    def missing() -> Iterator[tuple[int, list[Record]]]:
        for first, records in _chunks(plan.dataset.records(plan.split, on_skip=refused.append)):
            path = _part_path(parts, first)
            paths.append(path)
            if path.exists():
                observer.on_chunk(len(records))
            else:
                yield first, records

    with executor.open() as pool:
        for part in pool.map(_Encode(plan), missing()):
            part.save(_part_path(parts, part.first))
            observer.on_chunk(len(part.names) + len(part.dropped))
    return _Work(paths, refused)


def _part_path(parts: Path, first: int) -> Path:
    return parts / f"{first:09d}.npz"


def _chunks(records: Iterator[Record]) -> Iterator[tuple[int, list[Record]]]:
    first = 0
    while chunk := list(islice(records, CHUNK)):
        yield first, chunk
        first += len(chunk)


def _assemble(plan: PreparePlan, work: _Work, path: Path, catalog: Catalog) -> None:
    loaded = [_load_part(file) for file in work.parts]
    notes = [note for _, note in loaded]
    # A part whose records were all dropped does not know whether tokens carry values.
    kept = [arrays for arrays, note in loaded if note["names"]]
    arrays = {name: np.concatenate([part[name] for part in kept]) for name in (kept or ({},))[0]}
    names = [name for note in notes for name in note["names"]]
    dropped = [row for note in notes for row in note["dropped"]]
    dropped += [[skipped.source, "unreadable", skipped.reason] for skipped in work.refused]
    if not names:
        cause = f"; the first: {dropped[0][0]}: {dropped[0][2]}" if dropped else ""
        raise BadOptions(f"no crystal of split {plan.split!r} could be encoded{cause}")
    n_vocabulary = len(plan.representation.vocabulary())
    small = np.uint16 if n_vocabulary <= np.iinfo(np.uint16).max else np.int32
    columns = list(zip(*(row for note in notes for row in note["values"]), strict=True))
    fitted = plan.conditions
    if plan.split == "train":
        fitted = tuple(
            condition.fitted([value for value in column if value is not None])
            for condition, column in zip(plan.conditions, columns, strict=True)
        )
    files: dict[str, NDArray[Any]] = {
        "ids": arrays["ids"].astype(small),
        "offsets": _offsets(arrays["lengths"]),
        "sites": _offsets(arrays["n_sites"]),
        "lattice": arrays["lattice"],
        "frac": arrays["frac"],
        "numbers": arrays["numbers"].astype(np.uint8),
        "oxidation": arrays["oxidation"].astype(np.int8),
    }
    if "token_values" in arrays:
        files["values"] = arrays["token_values"]
    for i, (condition, column) in enumerate(zip(fitted, columns, strict=True)):
        files[f"feature_{i}"] = _features(condition, column, names)
    path.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        with replacing(path / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    write_text(path / "names.txt", "".join(f"{name}\n" for name in names))
    write_text(
        path / "dropped.jsonl",
        "".join(
            json.dumps({"id": name, "kind": kind, "reason": reason}, ensure_ascii=False) + "\n"
            for name, kind, reason in dropped
        ),
    )
    index: Mapping[str, object] = {
        "format": FORMAT,
        # Of the conditions as fitted: a run that goes on knows no others, and may have to build
        # the store again.
        "fingerprint": replace(plan, conditions=fitted).fingerprint(catalog),
        "dataset": catalog.dump(plan.dataset),
        "split": plan.split,
        "representation": catalog.dump(plan.representation),
        "ordering": catalog.dump(plan.ordering),
        "conditions": [catalog.dump(condition) for condition in fitted],
        "seed": plan.seed,
        "n_sequences": len(names),
        "n_tokens": int(arrays["lengths"].sum()),
        "dropped": dict(Counter(kind for _, kind, _ in dropped)),
        "oxidation": dict(sum((Counter(note["how"]) for note in notes), Counter())),
        "known": {
            condition.label: sum(value is not None for value in column)
            for condition, column in zip(fitted, columns, strict=True)
        },
        "range": {
            condition.label: [min(numbers), max(numbers)]
            for condition, column in zip(fitted, columns, strict=True)
            if (numbers := [v for v in column if isinstance(v, int | float)])
        },
    }
    write_json(path / "index.json", index)


def _load_part(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = dict(saved)
        notes: dict[str, Any] = json.loads(arrays.pop("notes").tobytes())  # JSON values
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BadFile(f"unfinished work in {path} is damaged ({error}); delete it") from None
    return arrays, notes


def _features(
    condition: Condition, column: tuple[PropertyValue | None, ...], names: Sequence[str]
) -> NDArray[np.float32]:
    """Return (n, feature_size) features.

    Raises:
        BadOptions: a value that the condition cannot turn into finite numbers; names its record.
    """
    features = np.full((len(column), condition.feature_size), np.nan, dtype=np.float32)
    for row, value in enumerate(column):
        if value is None:
            continue
        try:
            features[row] = condition.feature(value)
        except (ValueError, TypeError, ArithmeticError) as error:
            reason = str(error)
        else:
            reason = "" if np.isfinite(features[row]).all() else "not finite"
        if reason:
            raise BadOptions(
                f"condition {condition.label!r} cannot use the value {value!r} of record "
                f"{names[row]!r} ({reason}); mend or remove the value"
            )
    return features


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _joined(arrays: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype=dtype)
