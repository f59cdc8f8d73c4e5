"""A split of a dataset as a folder that `--dataset` reads (see `imported_folder`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from matgen.atomic import replacing_folder
from matgen.data.imported_folder import (
    CRYSTALS,
    PROBLEMS,
    CrystalsWriter,
    Description,
    sourced_properties,
)
from matgen.data.material_table import Observer
from matgen.data.splitting import SplitPlan, assign
from matgen.errors import BadFile
from matgen.records import Record, Skipped
from matgen.roles.dataset import DatasetSource
from matgen.roles.executor import Pool

_TOLD_EVERY = 1000
_WHY = {
    "undated": "no value that says when",
    "shares a material": "an earlier split has a crystal of the same material",
}


def write_split(
    plan: SplitPlan,
    dataset: DatasetSource,
    folder: Path,
    pool: Pool,
    observer: Observer,
    *,
    made_from: Mapping[str, Any],  # JSON values
) -> Description:
    """Split a dataset and write it to a folder, whole or not at all; return its description.

    Args:
        made_from: What a reader needs to make it again.

    Raises:
        BadFile: the folder is there already.
        BadOptions: shares or a column that cannot work.
    """
    if folder.exists():
        raise BadFile(f"{folder} is there already; choose another folder or remove it")
    plan.check(dataset)
    assignment = assign(plan, dataset, pool, observer)
    description = Description(
        title=f"{dataset.name} split by {plan.by}",
        units=dataset.units,
        label_sources=dataset.label_sources,
        splits=plan.splits,
        split_by=plan.by,
        made_from={
            **made_from,
            "fingerprint": dataset.fingerprint(),
            "licence": dataset.licence,
            "plan": asdict(plan),
        },
        reduced=dataset.reduced,
    )
    counts: Counter[str] = Counter()
    with replacing_folder(folder) as temporary:
        sourced = sourced_properties(description)
        with (
            (temporary / PROBLEMS).open("w", encoding="utf-8") as problems,
            CrystalsWriter(temporary / CRYSTALS, dataset.units, sourced) as crystals,
        ):
            report = _Problems(problems, counts)
            for split, record in assignment.records(
                on_skip=report.skipped, on_left_out=report.left_out
            ):
                sources = {name: record.sources.get(name, "") for name in sourced}
                crystals.add(record.id, record.crystal, split, record.properties, sources)
                counts[split] += 1
                if counts.total() % _TOLD_EVERY == 0:
                    observer("writing", counts.total(), None)
        observer("writing", counts.total(), counts.total())
        ordered = [*plan.splits, *sorted(set(counts) - set(plan.splits))]
        description = replace(description, counts={kind: counts[kind] for kind in ordered})
        fingerprint = description.write(temporary)
    return replace(description, fingerprint=fingerprint)


class _Problems:
    """One line per entry that is in no split."""

    def __init__(self, file: IO[str], counts: Counter[str]) -> None:
        self._file = file
        self._counts = counts

    def skipped(self, skipped: Skipped) -> None:
        self._write(skipped.source, skipped.id, skipped.kind, skipped.reason)

    def left_out(self, record: Record, kind: str) -> None:
        self._write("", record.id, kind, _WHY[kind])

    def _write(self, source: str, name: str, kind: str, reason: str) -> None:
        line = {"source": source, "id": name, "kind": kind, "reason": reason}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._counts[kind] += 1
