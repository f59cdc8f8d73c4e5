"""Datasets and workers as the ``matgen data`` commands name them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.data.left_out import LeftOut
    from matgen.roles.dataset import DatasetSource, Split
    from matgen.roles.executor import Executor


def dataset_of(catalog: Catalog, name: str, settings: Sequence[str]) -> DatasetSource:
    """Return the dataset that a name, a path, or several joined by ``+`` stand for.

    Args:
        settings: ``dataset.SETTING=VALUE`` texts.

    Raises:
        UnknownName, BadFile, BadOptions: one sentence.
    """
    from matgen.plan import resolve_dataset

    return resolve_dataset(catalog, name, settings)


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


def left_out_lines(counts: Mapping[LeftOut, int], first: Mapping[LeftOut, str]) -> list[str]:
    """Return a line for each sort of entries that are no records: how many, and the first."""
    from matgen.data.left_out import MEANINGS

    return [
        f"{count:,} entries {MEANINGS[kind]}; the first: {first[kind]}"
        for kind, count in counts.items()
    ]


def short_name(dataset: str) -> str:
    """Return a name for a folder: of ``data/mine.parquet`` it is ``mine``."""
    parts = [re.split(r"[/\\]", part.rstrip("/\\"))[-1] for part in dataset.split("+")]
    return "+".join(part.partition(".")[0].rpartition(":")[2] or "data" for part in parts)
