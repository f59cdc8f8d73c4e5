"""Features of conditions as arrays: dense where a value is a few numbers, else only what is not 0.

A reduced formula is a hundred counts of which four are not zero; half a million of them dense would
weigh more than all tokens.

Axis letters: R rows, C features of a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadOptions
from matgen.records import PropertyValue

if TYPE_CHECKING:
    from matgen.roles.condition import Condition

WIDE = 16
"""More features than this per value are kept sparse."""
UNKNOWN = -1
"""Count of a sparse row that is unknown."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of many rows, NaN where a row is unknown; dense or sparse.

    Attributes:
        dense: (R, C) float32.
        counts: (R,) int16: how many features of a row are not zero, ``UNKNOWN`` where it is.
        columns: Which they are, row after row, uint16.
        values: What they are, float32.
    """

    dense: NDArray[np.float32] | None = None
    counts: NDArray[np.int16] | None = None
    columns: NDArray[np.uint16] | None = None
    values: NDArray[np.float32] | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that there are, by name."""
        held = {
            "dense": self.dense,
            "counts": self.counts,
            "columns": self.columns,
            "values": self.values,
        }
        return {name: array for name, array in held.items() if array is not None}


def column_features(
    condition: Condition, column: Sequence[PropertyValue | None], names: Sequence[str]
) -> Features:
    """Return the features of a column of values.

    Args:
        names: (R,) ids of the records, for messages.

    Raises:
        BadOptions: a value that the condition cannot turn into finite numbers; names its record.
    """
    size = condition.feature_size
    dense = np.full((len(column), size), np.nan, dtype=np.float32)
    for row, value in enumerate(column):
        if value is None:
            continue
        try:
            dense[row] = condition.feature(value)
        except (ValueError, TypeError, ArithmeticError) as error:
            reason = str(error)
        else:
            reason = "" if np.isfinite(dense[row]).all() else "not finite"
        if reason:
            raise BadOptions(
                f"condition {condition.label!r} cannot use the value {value!r} of record "
                f"{names[row]!r} ({reason}); mend or remove the value"
            )
    return Features(dense=dense) if size <= WIDE else _sparse(dense)


def _sparse(dense: NDArray[np.float32]) -> Features:
    unknown = np.logical_or.reduce(np.isnan(dense), axis=1)
    rows, columns = np.nonzero(np.where(unknown[:, None], 0.0, dense))
    counts = np.bincount(rows, minlength=len(dense)).astype(np.int16)
    counts[unknown] = UNKNOWN
    return Features(counts=counts, columns=columns.astype(np.uint16), values=dense[rows, columns])


def sparse_rows(
    features: Features, ends: NDArray[np.int64], rows: NDArray[np.int64], size: int
) -> NDArray[np.float32]:
    """Return chosen rows of sparse features as (R, size), NaN where unknown.

    Args:
        ends: (n + 1,) where the entries of each row begin, of all rows.
        rows: (R,) which.
    """
    assert features.counts is not None
    assert features.columns is not None
    assert features.values is not None
    counts = features.counts[rows].astype(np.int64)
    dense = np.zeros((len(rows), size), dtype=np.float32)
    dense[counts == UNKNOWN] = np.nan
    counts = np.maximum(counts, 0)
    place = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    entries = ends[rows][place] + within
    dense[place, features.columns[entries]] = features.values[entries]
    return dense
