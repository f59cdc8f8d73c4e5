"""What came out of calculations, as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matgen.atomic import write_json, write_text
from matgen.crystal.composition import reduced_formula
from matgen.dft.job import Job, status
from matgen.io.writing import write_samples
from matgen.records import Sample
from matgen.roles.calculation import Outcome, State


@dataclass(frozen=True)
class Result:
    """One crystal and how far its calculation is.

    Attributes:
        sample: As it was given.
        state: What has to run next, or how it ended.
    """

    sample: Sample
    state: State

    @property
    def outcome(self) -> Outcome | None:
        """How it ended well, None if it did not."""
        return self.state if isinstance(self.state, Outcome) and not self.state.error else None

    def to_json(self) -> dict[str, Any]:  # JSON values
        """Return it as a row."""
        crystal = self.sample.crystal
        found = self.outcome
        row: dict[str, Any] = {
            "index": self.sample.index,
            "formula": None if crystal is None else reduced_formula(crystal),
            "status": status(self.state),
        }
        if found is not None:
            row |= {**found.properties, **found.facts}
        return row


def read_results(job: Job) -> list[Result]:
    """Return every crystal with how far it is; inputs that are due are written."""
    return [Result(sample, job.advance(sample)) for sample in job.samples]


def counted(results: Sequence[Result]) -> Mapping[str, int]:
    """Return how many are done, waiting and failed."""
    words = [status(result.state).split()[0].rstrip(":") for result in results]
    return {word: words.count(word) for word in ("done", "waiting", "failed") if word in words}


def write_results(job: Job, results: Sequence[Result]) -> list[Path]:
    """Write results.json, results.csv and results.extxyz into the folder; return their paths.

    The crystals carry their properties as achieved ones, for ``matgen evaluate`` to hold against
    what was asked for. All are there: those not done, as they were given.
    """
    rows = [result.to_json() for result in results]
    paths = [job.folder / f"results.{suffix}" for suffix in ("json", "csv", "extxyz")]
    write_json(paths[0], rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows(rows)
    write_text(paths[1], text.getvalue())
    write_samples(paths[2], [_sample(result) for result in results], asked=len(results))
    return paths


def _sample(result: Result) -> Sample:
    found = result.outcome
    if found is None:
        return result.sample
    achieved = {**result.sample.achieved, **found.properties}
    return replace(result.sample, crystal=found.crystal or result.sample.crystal, achieved=achieved)
