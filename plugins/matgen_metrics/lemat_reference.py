"""LeMat-GenBench's reference distributions, read from its own files.

They are not shipped with matgen. ``data/lematbulk_jsdistance_distributions.json`` is read as it
is; ``data/lematbulk_mmd_values_15k.pkl`` is a pickle, which is never opened here, and has to be
saved once as ``.npz`` under the same three names (docs/distributions.md has the line).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np

from matgen.errors import BadFile
from matgen_metrics.divergence import Floats

HISTOGRAMS: Final = {
    "space_group": ("SpaceGroup", 230),
    "crystal_system": ("CrystalSystem", 7),
    "element_counts": ("CompositionCounts", 118),
    "elements": ("Composition", 118),
}
"""Our name to the benchmark's, and the number of classes."""
VALUES: Final = {
    "volume": "Volume",
    "density": "Density(g/cm^3)",
    "site_density": "Density(atoms/A^3)",
}
"""Our name to the benchmark's."""


@dataclass(frozen=True, eq=False)
class Distributions:
    """What samples are compared with.

    Attributes:
        histograms: Name in ``HISTOGRAMS`` to (K,) frequencies.
        values: Name in ``VALUES`` to (M,) values.
    """

    histograms: dict[str, Floats]
    values: dict[str, Floats]


def read_histograms(path: Path) -> dict[str, Floats]:
    """Return the frequencies in the benchmark's JSON file.

    Raises:
        BadFile: it is no such file.
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return {
            ours: np.array([float(saved[theirs][str(k + 1)]) for k in range(n)])
            for ours, (theirs, n) in HISTOGRAMS.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(
            f"{path} is not LeMat-GenBench's file of reference distributions "
            f"(lematbulk_jsdistance_distributions.json): {type(error).__name__}: {error}"
        ) from error


def read_values(path: Path) -> dict[str, Floats]:
    """Return the reference values in an ``.npz`` of the benchmark's three arrays.

    Raises:
        BadFile: it is no such file, or needs a pickle.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            return {
                ours: np.asarray(saved[theirs], dtype=np.float64).ravel()
                for ours, theirs in VALUES.items()
            }
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise BadFile(
            f"{path} is no .npz file with {', '.join(VALUES.values())}: "
            f"{type(error).__name__}: {error}"
        ) from error
