"""Columns of a person's files that nobody stated a unit of, so that a dataset leaves them out."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matgen.data.labels import is_about_labels
from matgen.errors import BadFile
from matgen.io.crystal_table import ID_COLUMNS
from matgen.io.sources import entries

if TYPE_CHECKING:
    from matgen.roles.dataset import DatasetSource

LOOKED_AT: Final = 1000
"""Entries from the start: files have their columns from the first row on, and a pass costs time."""


def unstated_columns(dataset: DatasetSource) -> list[str]:
    """Return the columns of values that a dataset of files leaves out, in order of the alphabet.

    Only a dataset with the setting ``column_units`` leaves any out.
    """
    if "column_units" not in type(dataset).model_fields:
        return []
    stated = dataset.units
    found: set[str] = set()
    try:
        for entry in islice(entries(Path(getattr(dataset, "path", ""))), LOOKED_AT):
            if entry.crystal is None:
                continue
            found.update(
                column
                for column, value in entry.info.items()
                if isinstance(value, str | int | float) and not is_about_labels(column, stated)
            )
    except BadFile:
        return []  # reading the records says what is wrong
    return sorted(found - set(stated) - {*ID_COLUMNS, "split"})
