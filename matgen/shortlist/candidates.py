"""The crystals of an evaluation that may be worth more: relaxed, near the hull, each once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matgen.errors import BadFile, BadOptions
from matgen.evaluation.evaluated_runs import Run, read_run
from matgen.io.sources import entries
from matgen.records import Crystal


@dataclass(frozen=True, eq=False)
class Candidate:
    """A relaxed crystal, and what its evaluation said.

    Attributes:
        index: Number of the sample.
        crystal: As the potential relaxed it.
        above_hull: eV/atom, of that potential.
        converged: Whether the relaxation came to its end.
        known_as: Id of the known material that it is, empty if the evaluation found none.
        merged: Numbers of further samples that relaxed to the same crystal.
    """

    index: int
    crystal: Crystal
    above_hull: float
    converged: bool
    known_as: str
    merged: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """An evaluation, and what of it may be worth more.

    Attributes:
        run: Report and table.
        candidates: The lowest above the hull first; of equal crystals only the lowest.
        counts: What became of all samples: reason to number.
    """

    run: Run
    candidates: Sequence[Candidate]
    counts: Mapping[str, int]


def read_evaluated(folder: Path, *, threshold: float, novel_only: bool) -> Evaluated:
    """Read an evaluation.

    Args:
        folder: What ``matgen evaluate`` wrote, with a potential and a hull.
        threshold: Energy above the hull up to which a crystal is kept, eV/atom.
        novel_only: Leave out crystals that the reference has.

    Raises:
        BadFile: it is no evaluation; a crystal file has to be evaluated first.
        BadOptions: it lacks relaxation, distances from a hull, uniqueness, or novelty where that
            is asked for.
    """
    if not folder.is_dir() or not (folder / "report.json").exists():
        raise BadFile(
            f"{folder} is no evaluation; make one first: matgen evaluate {folder} --relax chgnet"
        )
    run = read_run(folder, folder.name)
    columns = run.columns
    needed = {"energy_above_hull": "a potential and a hull", "repeats": "the evaluator uniqueness"}
    if novel_only:
        needed["novel"] = "the evaluator novelty; or take --any, known ones too"
    for column, what in needed.items():
        if column not in columns:
            raise BadOptions(f"{folder} was evaluated without {what}; evaluate again")
    crystals = _relaxed(folder / "relaxed.extxyz")
    groups = _groups(columns)
    known_as = columns.get("known_as") or [None] * len(columns["index"])
    counts: dict[str, int] = defaultdict(int)
    found: list[Candidate] = []
    for members in groups:
        usable = [row for row in members if _distance(columns, row) is not None]
        counts["not relaxed, or outside the hull"] += len(members) - len(usable)
        if not usable:
            continue
        best, *others = sorted(usable, key=lambda row: (_distance(columns, row), row))
        counts["the same as a lower one"] += len(others)
        distance = _distance(columns, best)
        assert distance is not None
        index = int(columns["index"][best])  # type: ignore[arg-type]  # a column of numbers
        if distance > threshold:
            counts[f"more than {threshold:g} eV/atom above the hull"] += 1
        elif columns["valid_structure"][best] is False:
            counts["no valid structure"] += 1
        elif novel_only and columns["novel"][best] is not True:
            counts["known"] += 1
        else:
            counts["candidates"] += 1
            found.append(
                Candidate(
                    index,
                    crystals[index],
                    distance,
                    columns["converged"][best] is True,
                    str(known_as[best] or ""),
                    tuple(int(columns["index"][row]) for row in others),  # type: ignore[arg-type]
                )
            )
    found.sort(key=lambda candidate: (candidate.above_hull, candidate.index))
    return Evaluated(run, found, dict(counts))


def _relaxed(path: Path) -> dict[int, Crystal]:
    """Return the relaxed crystals by number."""
    found = {}
    for entry in entries(path):
        crystal = entry.crystal or entry.overlapping
        if crystal is not None:
            found[int(entry.info["index"])] = crystal
    return found


def _groups(columns: Mapping[str, list[Any]]) -> list[list[int]]:  # cells of any type
    """Return rows that are one crystal, together."""
    row_of = {index: row for row, index in enumerate(columns["index"])}
    first = list(range(len(columns["index"])))
    for row, partner in enumerate(columns["repeats"]):
        if partner is not None:
            first[row] = row_of[partner]
    groups: dict[int, list[int]] = defaultdict(list)
    for row in range(len(first)):
        root = row
        while first[root] != root:
            root = first[root]
        groups[root].append(row)
    return list(groups.values())


def _distance(columns: Mapping[str, list[Any]], row: int) -> float | None:  # cells of any type
    value = columns["energy_above_hull"][row]
    return None if value is None or not math.isfinite(value) else float(value)
