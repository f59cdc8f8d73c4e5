"""Grids of k-points, and lines through the Brillouin zone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matgen import Crystal
from matgen.errors import BadCrystal


@dataclass(frozen=True)
class BandPath:
    """A way along high-symmetry lines, and the cell that it is for.

    Attributes:
        crystal: Standard primitive cell (Setyawan and Curtarolo).
        branches: Unbroken stretches, each of at least two corners: name and fractional
            coordinates in the reciprocal cell.
    """

    crystal: Crystal
    branches: tuple[tuple[tuple[str, NDArray[np.float64]], ...], ...]


def monkhorst_pack(crystal: Crystal, per_reciprocal_atom: float) -> tuple[int, int, int]:
    """Return the divisions of a grid: points times atoms are about ``per_reciprocal_atom``.

    They are in the ratio of the reciprocal lengths, one at least.
    """
    n_points = per_reciprocal_atom / crystal.n_sites
    reciprocal = np.linalg.inv(crystal.lattice).T
    lengths = np.linalg.norm(reciprocal, axis=1)
    exact = lengths * (n_points / lengths.prod()) ** (1.0 / 3.0)
    a, b, c = np.maximum(1, np.round(exact)).astype(int).tolist()
    return a, b, c


def band_path(crystal: Crystal, symprec: float) -> BandPath:
    """Return the standard primitive cell of a crystal and the path through its Brillouin zone.

    Source: Setyawan and Curtarolo, Comput. Mater. Sci. 49, 299 (2010), as pymatgen has it.

    Raises:
        BadCrystal: no symmetry is found at ``symprec`` (Å), or no path.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError
    from pymatgen.symmetry.bandstructure import HighSymmKpath

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            analyzer = SpacegroupAnalyzer(crystal.to_structure(), symprec=symprec)
            # The setting that the tables of the path are for.
            primitive = analyzer.get_primitive_standard_structure(international_monoclinic=False)
            lines = HighSymmKpath(primitive, symprec=symprec).kpath
        except (SymmetryUndeterminedError, ValueError, TypeError) as error:
            raise BadCrystal(f"no path through the Brillouin zone: {error}") from None
    if not lines:
        raise BadCrystal("no path through the Brillouin zone for this lattice")
    corners = lines["kpoints"]
    branches = tuple(
        tuple((name.strip("\\"), np.asarray(corners[name], dtype=float)) for name in branch)
        for branch in lines["path"]
        if len(branch) > 1
    )
    return BandPath(Crystal.from_structure(primitive), branches)
