"""Which bases of one lattice are like the basis of another.

Letters: A, B, C vectors like the three of the target; P pairs of them, M bases found.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from matgen.evaluation.matching.tolerances import Tolerances

if TYPE_CHECKING:
    from pymatgen.core.lattice import Lattice

_LARGEST_STEP: Final = 2_000_000
"""Combinations of three vectors looked at together; bounds memory."""


@dataclass(frozen=True, eq=False)
class LatticeMaps:
    """Bases of a lattice, in the order pymatgen finds them.

    Attributes:
        aligned: (M, 3, 3) rows, Å.
        changes: (M, 3, 3) whole numbers: ``aligned = changes @ lattice``.
    """

    aligned: NDArray[np.float64]
    changes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.aligned)

    def part(self, begin: int, end: int) -> LatticeMaps:
        """Return some of them."""
        return LatticeMaps(self.aligned[begin:end], self.changes[begin:end])

    @cached_property
    def parameters(self) -> NDArray[np.float64]:
        """(M, 6) lengths in Å and angles in degrees."""
        lengths = np.linalg.norm(self.aligned, axis=-1)
        unit = self.aligned / lengths[..., None]
        following = unit[:, [1, 2, 0]], unit[:, [2, 0, 1]]
        cosines = np.clip((following[0] * following[1]).sum(axis=-1), -1, 1)
        return np.concatenate([lengths, np.rad2deg(np.arccos(cosines))], axis=-1)


def lattice_maps(
    lattice: Lattice, target: Lattice, n_cells: int, tolerances: Tolerances
) -> LatticeMaps:
    """Return all bases of sublattices of ``n_cells`` cells whose parameters are near the target's.

    Source: pymatgen-core 2026.10.16, ``Lattice.find_all_mappings``, with the same expressions in
    the same order, so that the same bases come to the last bit.
    """
    length = tolerances.length
    # Annotated by pymatgen as if it were zipped.
    points: Any = lattice.get_points_in_sphere(
        [[0, 0, 0]], [0, 0, 0], max(target.lengths) * (1 + length), zip_results=False
    )
    frac, distances, _, _ = points
    cart = lattice.get_cartesian_coords(frac)
    like = [
        np.logical_and(distances / wanted < 1 + length, distances / wanted > 1 / (1 + length))
        for wanted in target.lengths
    ]
    cart_A3, cart_B3, cart_C3 = (cart[chosen] for chosen in like)
    frac_A3, frac_B3, frac_C3 = (frac[chosen] for chosen in like)
    length_A, length_B, length_C = (
        np.sum(vectors**2, axis=-1) ** 0.5 for vectors in (cart_A3, cart_B3, cart_C3)
    )
    alpha, beta, gamma = target.angles
    near = tolerances.angle_deg
    alpha_BC = np.abs(_angles(cart_B3, cart_C3, length_B, length_C) - alpha) <= near
    beta_AC = np.abs(_angles(cart_A3, cart_C3, length_A, length_C) - beta) <= near
    gamma_AB = np.abs(_angles(cart_A3, cart_B3, length_A, length_B) - gamma) <= near
    pairs = np.argwhere(gamma_AB)
    step = max(1, _LARGEST_STEP // max(1, len(cart_C3)))
    found = [np.empty((0, 3), dtype=np.int64)]
    for begin in range(0, len(pairs), step):
        a, b = pairs[begin : begin + step].T
        which, c = np.nonzero(alpha_BC[b] & beta_AC[a])
        found.append(np.stack([a[which], b[which], c], axis=1))
    a, b, c = np.concatenate(found).T
    changes = np.stack([frac_A3[a], frac_B3[b], frac_C3[c]], axis=1).astype(np.int64)
    sizes = np.abs(np.linalg.det(changes.astype(np.float64)))
    kept = (sizes >= 1e-8) & (np.abs(sizes - n_cells) <= 0.5)
    aligned = np.stack([cart_A3[a], cart_B3[b], cart_C3[c]], axis=1)
    return LatticeMaps(aligned[kept], changes[kept])


def _angles(
    first_A3: NDArray[np.float64],
    second_B3: NDArray[np.float64],
    length_A: NDArray[np.float64],
    length_B: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (A, B) angles in degrees."""
    cosines = np.inner(first_A3, second_B3) / length_A[:, None] / length_B
    cosines[cosines > 1] = 1
    cosines[cosines < -1] = -1
    angles: NDArray[np.float64] = np.rad2deg(np.arccos(cosines))
    return angles
