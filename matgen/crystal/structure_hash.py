"""A 64-bit number of a crystal, equal for all its descriptions: duplicates without pairs.

Four things are hashed: the reduced formula; the number of sites of the primitive cell; its three
successive minima (the lengths of its shortest independent vectors, which, unlike the parameters of
a reduced cell, move no further than the lattice does); and mean distances to near neighbours. None
depends on cell, origin or order of the sites. Lengths are rounded coarsely, so small noise seldom
changes the hash. It can: whatever rounds has borders.

Measured on crystals of mp_le20 (``benchmarks/structure_hash.py --quick``): of pairs of one formula
that pymatgen's matcher tells apart, 2.1 % have one hash; of copies in another cell, with another
origin and order, none has another hash as they are, 0.3 % with one coordinate moved by a bin, 3.3 %
with every coordinate moved, 23 % with all lengths and angles moved by up to a bin; of pairs that
the matcher, which is far more lenient, calls equal, 60 % have two. The mirror image of a crystal
has the same hash.

Axis letters: N sites, I images, K neighbours, E elements.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.composition import reduced_counts
from matgen.crystal.periodic import images_within, reduced_basis, wrapped
from matgen.crystal.primitive import primitive_cell
from matgen.errors import BadCrystal
from matgen.records import Crystal

REVISION: Final = 1
"""Raised whenever a crystal may get another hash than before; hashed too."""
_NEIGHBOURS: Final = 32
_NEAREST: Final = 12
"""A close packing has so many nearest neighbours. Their distances are averaged by element, which
tells apart who sits where; those of the others over all sites, which tells apart stackings."""
_DISTANCE_STEP_ANG: Final = 0.1
_LENGTH_STEP_ANG: Final = 0.5
_BORDER: Final = (3.0 - math.sqrt(5.0)) / 2.0
"""Where a step begins, in steps: irrational, so that no round length lies on a border."""
_PRIMITIVE_SYMPREC_ANG: Final = 0.2
"""Wide: noise must not hide the translations of a supercell; pymatgen's matcher has 0.25."""
_FIRST_RADIUS: Final = 1.5
"""Times the radius of the sphere that holds the neighbours on average."""
_PAIRS_AT_ONCE: Final = 500_000
"""Distances at once, 12 MB as vectors."""


def structure_hash(crystal: Crystal) -> int:
    """Return a hash from 0 to 2**64 - 1.

    Args:
        crystal: Any cell, origin and order of sites; oxidation states are left aside.

    Raises:
        BadCrystal: no sites, not finite, or a lattice too flat to have neighbours in.

    Source: Widdowson et al., "Average minimum distances of periodic point sets", MATCH 87 (2022).
    Deviates: the distances to the k-th neighbours are averaged over k as well, which makes few
    numbers to round; sites are averaged by element; the lattice adds its successive minima.
    """
    if not crystal.n_sites:
        raise BadCrystal("a crystal without sites has no hash")
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac).all()):
        raise BadCrystal("its lattice vectors or coordinates are not finite")
    if crystal.volume < 1e-6:
        raise BadCrystal("its lattice vectors span no volume")
    bare = Crystal(crystal.lattice, crystal.frac, crystal.numbers)
    primitive = primitive_cell(bare, symprec=_PRIMITIVE_SYMPREC_ANG)
    basis = reduced_basis(primitive.lattice)
    elements, counts = reduced_counts(primitive.numbers)
    minima = np.linalg.norm(basis, axis=1)
    levels = np.concatenate(
        [
            [REVISION, primitive.n_sites],
            elements,
            counts,
            _levels(minima, _LENGTH_STEP_ANG),
            _levels(_mean_distances(primitive, basis, elements), _DISTANCE_STEP_ANG),
        ]
    ).astype("<i8")
    return int.from_bytes(hashlib.blake2b(levels.tobytes(), digest_size=8).digest(), "big")


def hash_text(crystal: Crystal) -> str:
    """Return the hash as 16 hexadecimal digits: what files hold, for float64 would round it.

    Raises:
        BadCrystal: see ``structure_hash``.
    """
    return f"{structure_hash(crystal):016x}"


def neighbour_distances(crystal: Crystal, n_neighbours: int) -> NDArray[np.float64]:
    """Return the (N, K) distances of each site to its nearest neighbours, ascending, Å.

    Raises:
        BadCrystal: the lattice is too flat.
    """
    return _neighbour_distances(crystal, reduced_basis(crystal.lattice), n_neighbours)


def _mean_distances(
    crystal: Crystal, basis: NDArray[np.float64], elements: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (E + 1,) mean distances: to the nearest by element, and to those beyond, Å."""
    distances = _neighbour_distances(crystal, basis, _NEIGHBOURS)
    nearest = distances[:, :_NEAREST].mean(axis=1)
    by_element = [nearest[crystal.numbers == element].mean() for element in elements]
    return np.array([*by_element, distances[:, _NEAREST:].mean()])


def _neighbour_distances(
    crystal: Crystal, basis: NDArray[np.float64], n_neighbours: int
) -> NDArray[np.float64]:
    frac = crystal.frac @ crystal.lattice @ np.linalg.inv(basis)
    free_volume = crystal.volume / crystal.n_sites
    radius = _FIRST_RADIUS * (3.0 * (n_neighbours + 1) * free_volume / (4.0 * math.pi)) ** (1 / 3)
    while True:
        images = images_within(basis, radius) @ basis
        if len(images) * crystal.n_sites > n_neighbours:
            near = _nearest(frac, basis, images, n_neighbours)
            # What lies beyond the radius may have nearer images that were not looked at.
            if near[:, -1].max() <= radius:
                return near
        radius *= 1.3


def _nearest(
    frac: NDArray[np.float64],
    basis: NDArray[np.float64],
    images: NDArray[np.float64],
    n_neighbours: int,
) -> NDArray[np.float64]:
    """Return (N, K) distances, the site itself left out."""
    block = max(1, _PAIRS_AT_ONCE // (len(frac) * len(images)))
    found = []
    for first in range(0, len(frac), block):
        sites = frac[first : first + block]
        difference = wrapped(frac[None, :, :] - sites[:, None, :]) @ basis
        vectors = difference[:, :, None, :] + images
        squared = np.einsum("nmix,nmix->nmi", vectors, vectors).reshape(len(sites), -1)
        near = np.partition(squared, n_neighbours, axis=1)[:, : n_neighbours + 1]
        found.append(np.sqrt(np.sort(near, axis=1)[:, 1:]))
    return np.concatenate(found)


def _levels(lengths: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    return np.floor(lengths / step + _BORDER)
