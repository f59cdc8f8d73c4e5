"""Composition fingerprints: statistics of the elements' properties, standardised as CDVAE does.

Source: Ward et al., npj Comput. Mater. 2, 16028 (2016), the "magpie" preset of matminer; the means
and deviations are CDVAE's (``cdvae/common/constants.py``, MIT).
Deviates: a property that an element has not (four noble gases have no electronegativity, for
example) is not a number and standardises to 0, as in CDVAE with the matminer of its time; matminer
has since filled it with a mean over the elements.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from matgen.elements import atomic_number
from matgen_metrics.divergence import Floats

_DATA: Final = Path(__file__).parent / "data"
N_FEATURES: Final = 132
"""Twenty-two properties, six statistics of each."""


def composition_fingerprint(counts: Mapping[int, int]) -> Floats | None:
    """Return (132,) statistics of a composition; None where an element is beyond berkelium.

    For each property minimum, maximum, range, mean, mean absolute deviation, and the value of the
    most frequent element (the smallest of several); not a number where the property of an element
    is unknown.

    Args:
        counts: Atomic number to number of sites.
    """
    table = _properties()
    if not counts or any(number not in table for number in counts):
        return None
    weights = np.array(list(counts.values()), dtype=np.float64)
    values = np.stack([table[number] for number in counts])
    most_frequent = np.isclose(weights, weights.max())
    mean = np.average(values, axis=0, weights=weights)
    lowest, highest = values.min(axis=0), values.max(axis=0)
    statistics = (
        lowest,
        highest,
        highest - lowest,
        mean,
        np.average(np.abs(values - mean), axis=0, weights=weights),
        values[most_frequent].min(axis=0),
    )
    return np.stack(statistics, axis=1).ravel()


def standardised(fingerprints: Floats) -> Floats:
    """Return (N, 132) fingerprints with CDVAE's mean and deviation taken out; unknown is 0."""
    mean, deviation = _scaler()
    return np.nan_to_num((fingerprints - mean) / deviation, nan=0.0)


@cache
def _properties() -> Mapping[int, Floats]:
    """Atomic number to (22,) properties, NaN where unknown."""
    return {
        atomic_number(row["element"]): np.array(
            [np.nan if text == "?" else float(text) for text in list(row.values())[1:]]
        )
        for row in _rows("magpie.csv")
    }


@cache
def _scaler() -> tuple[Floats, Floats]:
    rows = list(_rows("cdvae_scaler.csv"))
    mean = np.array([float(row["mean"]) for row in rows])
    return mean, np.array([float(row["deviation"]) for row in rows])


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (_DATA / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
