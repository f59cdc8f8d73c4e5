"""From a dataset to a token store: reduce, assign oxidation states, encode, in parallel.

The work is cut into chunks of records; a finished chunk is a file, so an interrupted build goes on
where it stopped, and a finished store is reused as long as nothing it was made from changes.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from matgen.data.encoding import Encode, SavedPart, Standardise, save_part
from matgen.data.prepare_plan import PreparePlan
from matgen.data.record_columns import RecordColumns
from matgen.data.store_writer import write_store
from matgen.data.token_store import TokenStore
from matgen.errors import BadOptions
from matgen.records import Record, Skipped

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.condition import Condition
    from matgen.roles.dataset import DatasetSource
    from matgen.roles.executor import Executor

log = logging.getLogger(__name__)

CHUNK = 2000
"""Records per piece of work: seconds of it, so little is lost and the bar moves."""


class PrepareObserver(Protocol):
    """Hears how far a build is."""

    def on_chunk(self, n_records: int) -> None:
        """A chunk of this many records is done."""


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
                fitted = _fitted(plan, executor) if plan.representation.unfitted else plan
                work, refused = _encode_all(fitted, parts, executor, observer)
                write_store(fitted, work, refused, path, catalog)
            # The work is in the store now; it is also here if an earlier build was killed at this
            # point. Removed under the lock, which goes last.
            shutil.rmtree(parts, ignore_errors=True)
    elif parts.exists():
        shutil.rmtree(parts, ignore_errors=True)
    return TokenStore.open(path, catalog)


def _check_units(plan: PreparePlan) -> None:
    """Refuse a condition whose column the dataset lacks or gives in another unit."""
    units = plan.dataset.units
    for condition in plan.conditions:
        if condition.reads is None:
            continue
        if condition.reads not in units and condition.label in plan.optional:
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
            f"{dataset.name!r} has {column!r} from {listed}: {how}"
        )
    if len(offered) > 1 and not condition.sources:
        raise BadOptions(
            f"dataset {dataset.name!r} mixes values of {column!r} from {listed}; name those that "
            f"condition {condition.label!r} is to learn: {how}"
        )


@contextmanager
def _alone(parts: Path) -> Iterator[None]:
    """Keep other processes out of this build; the lock goes with its holder, however that ends."""
    while True:
        parts.mkdir(parents=True, exist_ok=True)
        try:
            file = (parts / "lock").open("w")
        except FileNotFoundError:
            continue  # another process finished and tidied up in between
        with file:
            _wait_for(file, parts)
            # Who held it may have removed the folder: then this is a lock on nothing.
            if (parts / "lock").exists():
                yield
                return


def _wait_for(file: IO[str], parts: Path) -> None:
    """Return when this process alone holds the lock."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("waiting for another process that prepares the same data in %s", parts)
        fcntl.flock(file, fcntl.LOCK_EX)


def _fitted(plan: PreparePlan, executor: Executor) -> PreparePlan:
    """Return the plan with its representation fitted to the canonical training crystals."""
    if plan.split != "train":
        raise BadOptions(
            f"the representation {plan.representation.name!r} is fitted to the training crystals; "
            "prepare those first"
        )
    chunks = _chunks(plan.dataset.records(plan.split, on_skip=lambda _: None))
    with executor.open() as pool:
        crystals = (
            record.crystal
            for columns in pool.map(Standardise(plan), chunks)
            for record in columns.records()
        )
        return replace(plan, representation=plan.representation.fitted(crystals))


def _encode_all(
    plan: PreparePlan, folder: Path, executor: Executor, observer: PrepareObserver
) -> tuple[list[SavedPart], list[Skipped]]:
    """Return the parts of all records, in order, and entries that never became records."""
    refused: list[Skipped] = []
    paths: list[Path] = []

    def missing() -> Iterator[tuple[int, RecordColumns]]:
        for first, records in _chunks(plan.dataset.records(plan.split, on_skip=refused.append)):
            path = _part_path(folder, first)
            paths.append(path)
            if path.exists():
                observer.on_chunk(len(records))
            else:
                yield first, records

    with executor.open() as pool:
        for part in pool.map(Encode(plan), missing()):
            save_part(part, _part_path(folder, part.first))
            observer.on_chunk(len(part.names) + len(part.dropped))
    return [SavedPart(path) for path in paths], refused


def _part_path(folder: Path, first: int) -> Path:
    return folder / f"{first:09d}.npz"


def _chunks(records: Iterator[Record]) -> Iterator[tuple[int, RecordColumns]]:
    first = 0
    while chunk := list(islice(records, CHUNK)):
        yield first, RecordColumns.of(chunk)
        first += len(chunk)
