"""Datasets and workers as the ``matgen data`` commands name them."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.records import SkippedKind
    from matgen.roles.dataset import DatasetSource, Split
    from matgen.roles.executor import Executor


def dataset_of(catalog: Catalog, name: str, settings: Sequence[str]) -> DatasetSource:
    """Return the dataset that a name, a path, or several joined by ``+`` stand for.

    Args:
        settings: ``dataset.SETTING=VALUE`` texts.

    Raises:
        UnknownName, BadFile, BadOptions: one sentence.
    """
    from matgen.errors import BadFile
    from matgen.plan_parts import resolve_dataset
    from matgen.roles.citing import with_parts

    source = resolve_dataset(catalog, name, settings)
    for part in with_parts(source):
        path = getattr(part, "path", "")
        # Else the first to open it would be taken for one that cannot write.
        if path and Path(path).exists() and not os.access(path, os.R_OK):
            raise BadFile(f"cannot read {path}: permission denied")
    return source


def executor_of(catalog: Catalog, workers: int) -> Executor:
    """Return what runs pieces of work: this process for 1, every core for 0."""
    if workers == 1:
        return cast("Executor", catalog.build("executor", "executors:local"))
    settings = {"n_workers": workers} if workers else {}
    return cast(
        "Executor", catalog.build("executor", catalog.choices.default("executor"), settings)
    )


def chosen_split(dataset: DatasetSource, name: str | None) -> tuple[Split, ...]:
    """Return the split of this name, or all of them.

    Raises:
        BadOptions: the dataset has no such split.
    """
    from matgen.errors import BadOptions

    found = tuple(split for split in dataset.splits if name in (None, split))
    if not found:
        raise BadOptions(
            f"dataset {dataset.name!r} has no split {name!r}; it has {', '.join(dataset.splits)}"
        )
    return found


def say_unstated(dataset: DatasetSource) -> None:
    """Name the columns of a person's files that are left out for want of a unit, in one line."""
    from matgen.commands.console import say
    from matgen.data.unstated_columns import unstated_columns

    if columns := unstated_columns(dataset):
        named = ", ".join(f'{_key(column)}="UNIT"' for column in columns)
        flag = shlex.quote(f"dataset.column_units={{{named}}}")
        say(f"left out columns without a stated unit; to keep them: --set {flag}")


def _key(column: str) -> str:
    """Return a column as a key of TOML."""
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", column)
    return column if bare else json.dumps(column, ensure_ascii=False)


def left_out_lines(
    counts: Mapping[SkippedKind, int], first: Mapping[SkippedKind, str]
) -> list[str]:
    """Return a line for each sort of entries that are no records: how many, and the first."""
    from matgen.data.left_out import MEANINGS

    return [
        f"left out {count:,} ({MEANINGS[kind]}); the first: {first[kind]}"
        for kind, count in counts.items()
    ]


def short_name(dataset: str) -> str:
    """Return a name for a folder: of ``data/mine.parquet`` it is ``mine``."""
    parts = [re.split(r"[/\\]", part.rstrip("/\\"))[-1] for part in dataset.split("+")]
    return "+".join(part.partition(".")[0].rpartition(":")[2] or "data" for part in parts)
