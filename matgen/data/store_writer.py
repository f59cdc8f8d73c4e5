"""Finished parts to a token store, one part at a time: memory does not grow with the dataset."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from matgen.atomic import replacing, write_json
from matgen.data.encoding import Column, SavedPart
from matgen.data.features import column_features
from matgen.data.sketch import Sketch
from matgen.data.token_store import FORMAT
from matgen.errors import BadOptions
from matgen.records import PropertyValue, Skipped

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.data.prepare_plan import PreparePlan
    from matgen.roles.condition import Condition


def write_store(
    plan: PreparePlan,
    parts: Sequence[SavedPart],
    refused: Sequence[Skipped],
    path: Path,
    catalog: Catalog,
) -> None:
    """Write the store of a plan.

    Args:
        parts: Of all records, in their order.
        refused: Entries of the dataset that never became records.
        path: Folder of the store; ``index.json`` is written last.

    Raises:
        BadOptions: nothing was left, or a condition cannot use a value.
        BadFile: a part is damaged.
    """
    is_continuous = bool(plan.representation.vocabulary().continuous)
    sizes = [part.n_sequences for part in parts]
    if not sum(sizes):
        raise BadOptions(
            f"no crystal of split {plan.split!r} could be encoded{_cause(parts, refused)}"
        )
    # A part whose records were all dropped does not know whether tokens carry values.
    kept = [part for part, size in zip(parts, sizes, strict=True) if size]
    fitted = plan.conditions
    if plan.split == "train":
        fitted = tuple(c.fitted(_known(kept, i)) for i, c in enumerate(plan.conditions))
    counts = _Counts(fitted)
    path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        names = files.enter_context(_lines(path / "names.jsonl"))
        dropped = files.enter_context(_lines(path / "dropped.jsonl"))
        arrays = _Arrays(path, files)
        for part, size in zip(parts, sizes, strict=True):
            with part.opened():
                notes = part.notes()
                dropped("".join(_dropped_line(*row) for row in notes["dropped"]))
                counts.add(notes)
                if not size:
                    continue
                names("".join(f"{json.dumps(name)}\n" for name in notes["names"]))
                for name in ("ids", "lengths", *(["values"] if is_continuous else [])):
                    arrays.append(name, part.array(name))
                for i, (condition, given) in enumerate(zip(fitted, plan.conditions, strict=True)):
                    column = part.column(i)
                    counts.add_column(condition, column)
                    features = (
                        part.features(i)
                        if condition == given
                        else column_features(condition, column, notes["names"])
                    )
                    for name, array in features.arrays().items():
                        arrays.append(f"feature_{i}_{name}", array)
        dropped("".join(_dropped_line(s.source, s.kind, s.reason) for s in refused))
        counts.add_refused(refused)
    write_json(
        path / "index.json",
        {
            "format": FORMAT,
            # Of the conditions as fitted: a run that goes on knows no others, and may have to
            # build the store again.
            "fingerprint": replace(plan, conditions=fitted).fingerprint(catalog),
            "dataset": catalog.dump(plan.dataset),
            "split": plan.split,
            "representation": catalog.dump(plan.representation),
            "ordering": catalog.dump(plan.ordering),
            "conditions": [catalog.dump(condition) for condition in fitted],
            "seed": plan.seed,
            "n_sequences": sum(sizes),
            "n_tokens": arrays.n_rows("ids"),
            **counts.to_json(),
        },
    )


class _Counts:
    """What the parts hold and left out."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self._dropped: Counter[str] = Counter()
        self._how: Counter[str] = Counter()
        self._known = {condition.label: 0 for condition in conditions}
        self._ranges: dict[str, list[float]] = {}
        self._sketches: dict[str, Sketch] = {}

    def add(self, notes: Mapping[str, Any]) -> None:  # JSON values
        self._how.update(notes["how"])
        self._dropped.update(kind for _, kind, _ in notes["dropped"])

    def add_refused(self, refused: Sequence[Skipped]) -> None:
        self._dropped.update(skipped.kind for skipped in refused)

    def add_column(self, condition: Condition, column: Column) -> None:
        known = [value for value in column if value is not None]
        self._known[condition.label] += len(known)
        numbers = [value for value in known if not isinstance(value, str)]
        if numbers:
            ends = [*self._ranges.get(condition.label, []), min(numbers), max(numbers)]
            self._ranges[condition.label] = [min(ends), max(ends)]
            self._sketches.setdefault(condition.label, Sketch()).add(numbers)

    def to_json(self) -> dict[str, object]:
        """Return what the index says of them."""
        return {
            "dropped": dict(self._dropped),
            "oxidation": dict(self._how),
            "known": self._known,
            "range": self._ranges,
            "quantiles": {label: sketch.quantiles() for label, sketch in self._sketches.items()},
        }


def _known(parts: Sequence[SavedPart], condition: int) -> Iterator[PropertyValue]:
    """Yield the known values of a condition, part by part; nothing is read before it is wanted."""
    for part in parts:
        with part.opened():
            column = part.column(condition)
        yield from (value for value in column if value is not None)


def _cause(parts: Sequence[SavedPart], refused: Sequence[Skipped]) -> str:
    """Return the first reason why a record was left out, for a message."""
    for part in parts:
        with part.opened():
            for name, _, reason in part.notes()["dropped"]:
                return f"; the first: {name}: {reason}"
    return f"; the first: {refused[0].source}: {refused[0].reason}" if refused else ""


class _Arrays:
    """npy files that grow by an array at a time, and are there when ``files`` is left well."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self._folder = folder
        self._files = files
        self._open: dict[str, _Npy] = {}

    def append(self, name: str, array: NDArray[Any]) -> None:
        if name not in self._open:
            path = self._folder / f"{name}.npy"
            self._open[name] = self._files.enter_context(_npy(path, array))
        self._open[name].append(array)

    def n_rows(self, name: str) -> int:
        return self._open[name].n_rows


class _Npy:
    """An npy file being written: its header again, with the number of rows, at the end."""

    def __init__(self, file: BinaryIO, like: NDArray[Any]) -> None:
        self.n_rows = 0
        self._file = file
        self._dtype = like.dtype
        self._shape = like.shape[1:]
        self.write_header()

    def write_header(self) -> None:
        """Write the header; numpy leaves room in it for any number of rows."""
        self._file.seek(0)
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.n_rows, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, array: NDArray[Any]) -> None:
        assert array.dtype == self._dtype
        assert array.shape[1:] == self._shape
        self._file.write(np.ascontiguousarray(array).data)
        self.n_rows += len(array)


@contextmanager
def _npy(path: Path, like: NDArray[Any]) -> Iterator[_Npy]:
    with replacing(path) as temporary, temporary.open("wb") as file:
        npy = _Npy(file, like)
        yield npy
        npy.write_header()


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[str], object]]:
    """Give a function that writes to a text file, which is there when the block ends well."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file.write


def _dropped_line(name: str, kind: str, reason: str) -> str:
    row = {"id": name, "kind": kind, "reason": reason}
    # Escaped, for an id may hold anything.
    return json.dumps(row) + "\n"
