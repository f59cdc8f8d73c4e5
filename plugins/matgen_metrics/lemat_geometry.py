"""LeMat-GenBench's two tests of a structure's geometry: distances, and plausible ranges.

Source: LeMat-GenBench (arXiv:2512.04562; Apache-2.0), ``metrics/validity_metrics.py`` at 5bab2cd.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

_RADIUS_OFFSET_ANG: Final = 0.7
_SHARE_OF_RADII: Final = 0.5
_UNKNOWN_RADIUS_ANG: Final = 1.0
_DENSITY: Final = (0.01, 25.0)
"""g/cm³."""
_SITES_PER_ANG3: Final = (1e-5, 0.5)
_LENGTH_ANG: Final = (1.0, 100.0)
_SMALLEST_VOLUME_ANG3: Final = 1.0


def distances_valid(structure: Structure) -> bool:
    """Return whether all pairs of sites are at least (0.7 Å + both atomic radii) / 2 apart.

    A site and its own images are no pair: one site alone always passes.
    """
    radii = _radii()[[site.specie.Z for site in structure]]
    smallest = (_RADIUS_OFFSET_ANG + radii[:, None] + radii[None, :]) * _SHARE_OF_RADII
    pairs = np.triu_indices(len(structure), k=1)
    return not bool((structure.distance_matrix[pairs] < smallest[pairs]).any())


def plausible(structure: Structure) -> bool:
    """Return whether densities and cell are in range, a CIF can be written, spglib finds a group.

    Whatever fails to be computed is out of range.
    """
    return _in_range(structure) and _writable(structure) and _has_space_group(structure)


@cache
def _radii() -> NDArray[np.float64]:
    """(119,) pymatgen's atomic radii by number, 1 Å where it has none."""
    from pymatgen.core.periodic_table import Element

    known = [Element.from_Z(number).atomic_radius for number in range(1, 119)]
    return np.array([np.nan, *(float(radius or _UNKNOWN_RADIUS_ANG) for radius in known)])


def _in_range(structure: Structure) -> bool:
    lattice = structure.lattice
    return bool(
        _DENSITY[0] <= structure.density <= _DENSITY[1]
        and _SITES_PER_ANG3[0] <= len(structure) / structure.volume <= _SITES_PER_ANG3[1]
        and lattice.volume > _SMALLEST_VOLUME_ANG3
        and all(_LENGTH_ANG[0] <= length <= _LENGTH_ANG[1] for length in lattice.abc)
        and all(0.0 < angle < 180.0 for angle in lattice.angles)
    )


def _writable(structure: Structure) -> bool:
    from pymatgen.io.cif import CifWriter

    try:
        return bool(str(CifWriter(structure)))
    except Exception:  # noqa: BLE001 - one sample: that it fails, in whatever way, is the answer
        return False


def _has_space_group(structure: Structure) -> bool:
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    try:
        return 1 <= SpacegroupAnalyzer(structure).get_space_group_number() <= 230
    except Exception:  # noqa: BLE001 - one sample: that it fails, in whatever way, is the answer
        return False
