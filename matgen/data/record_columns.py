"""Records as a few flat arrays: what is sent to a worker costs a copy, not a pickle per crystal.

Axis letters: R records, T sites of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matgen.records import Crystal, PropertyValue, Record

_NOT_GIVEN = -128
"""Oxidation state of the sites of a crystal that has none."""


@dataclass(frozen=True, eq=False)
class RecordColumns:
    """The records of a chunk, in order.

    Attributes:
        ids: (R,) names.
        ends: (R + 1,) where the sites of each record begin, and the end.
        lattices: (R, 3, 3) float64, Å.
        frac: (T, 3) float64.
        numbers: (T,) int64.
        oxidation: (T,) int8.
        properties, sources: (R,) as the records have them.
        odd: Place to record, for crystals whose arrays have other shapes than these columns.
    """

    ids: Sequence[str]
    ends: NDArray[np.int64]
    lattices: NDArray[np.float64]
    frac: NDArray[np.float64]
    numbers: NDArray[np.int64]
    oxidation: NDArray[np.int8]
    properties: Sequence[Mapping[str, PropertyValue]]
    sources: Sequence[Mapping[str, str]]
    odd: Mapping[int, Record]

    @classmethod
    def of(cls, records: Sequence[Record]) -> RecordColumns:
        """Return the columns of records."""
        odd = {i: r for i, r in enumerate(records) if not _has_usual_shapes(r.crystal)}
        crystals = [_NONE if i in odd else r.crystal for i, r in enumerate(records)]
        states = [
            np.full(c.n_sites, _NOT_GIVEN) if c.oxidation is None else c.oxidation for c in crystals
        ]
        return cls(
            ids=[record.id for record in records],
            ends=np.cumsum([0, *(c.n_sites for c in crystals)], dtype=np.int64),
            lattices=np.array([c.lattice for c in crystals], dtype=np.float64).reshape(-1, 3, 3),
            frac=np.concatenate([_NONE.frac, *(c.frac for c in crystals)]),
            numbers=np.concatenate([_NONE.numbers, *(c.numbers for c in crystals)]),
            oxidation=np.concatenate([_NONE.numbers, *states]).astype(np.int8),
            properties=[record.properties for record in records],
            sources=[record.sources for record in records],
            odd=odd,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def records(self) -> Iterator[Record]:
        """Yield the records, their crystals as views of the columns."""
        ends = self.ends.tolist()
        for i, name in enumerate(self.ids):
            if i in self.odd:
                yield self.odd[i]
                continue
            sites = slice(ends[i], ends[i + 1])
            states = self.oxidation[sites]
            given = len(states) > 0 and states[0] != _NOT_GIVEN
            crystal = Crystal(
                self.lattices[i],
                self.frac[sites],
                self.numbers[sites],
                states.astype(np.int64) if given else None,
            )
            yield Record(name, crystal, self.properties[i], self.sources[i])


_NONE = Crystal(np.zeros((3, 3)), np.zeros((0, 3)), np.zeros(0, dtype=np.int64))


def _has_usual_shapes(crystal: Crystal) -> bool:
    n = len(crystal.numbers)
    return (
        crystal.lattice.shape == (3, 3)
        and crystal.numbers.shape == (n,)
        and crystal.frac.shape == (n, 3)
        and (
            crystal.oxidation is None
            or (crystal.oxidation.shape == (n,) and bool((abs(crystal.oxidation) < 100).all()))
        )
    )
