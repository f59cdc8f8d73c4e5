"""Small cells that break things."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matgen.records import Crystal


def crystals() -> list[Crystal]:
    """Return small hostile cells with formal oxidation states, the same every time.

    One site, equal sites that tie, noble gases, sites at 0.999999 and below 0, a long axis, a
    triclinic cell without symmetry, a supercell, primitive cells at 60° and 120°, a left-handed
    cell. Some are cubic with sites at quarters, so that coarse representations hold some.
    """
    cs_cl = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    halves = np.array([[0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
    return [
        _crystal(3.36 * np.eye(3), [84], [[0.0, 0.0, 0.0]]),
        _crystal(4.12 * np.eye(3), [55, 17], cs_cl, [1, -1]),
        _crystal(3.61 * np.eye(3), [29] * 4, fcc),
        _crystal(5.26 * np.eye(3), [18] * 4, fcc),
        _crystal(2.8 * np.eye(3), [2, 10], cs_cl),
        _crystal(5.64 * np.eye(3), [11, 17] * 4, np.stack([fcc, halves], 1), [1, -1] * 4),
        _crystal(4.57 * np.eye(3), [55, 53], _NEARLY, [1, -1]),
        _crystal(4.0 * np.eye(3), [56, 22, 8, 8, 8], _PEROVSKITE, [2, 4, -2, -2, -2]),
        _crystal(np.diag([3.2, 3.2, 19.5]), [42, 16, 16], _LAYER, [4, -2, -2]),
        _crystal(_cell(4.1, 5.3, 6.7, 83, 97, 105), [26, 8, 8, 1], _NO_SYMMETRY, [3, -2, -2, 1]),
        _crystal(np.diag([8.24, 4.12, 4.12]), [55, 17, 55, 17], _DOUBLED, [1, -1, 1, -1]),
        _crystal(_cell(3.98, 3.98, 3.98, 60, 60, 60), [11, 17], cs_cl, [1, -1]),
        _crystal(_cell(3.21, 3.21, 5.21, 90, 90, 120), [12, 12], _HEXAGONAL),
        _crystal(-4.21 * np.eye(3), [12, 8] * 4, np.stack([fcc, halves], 1), [2, -2] * 4),
    ]


_NEARLY = np.array([[0.999999, 0.999999, 0.999999], [0.5, 0.500001, 0.5]])
_PEROVSKITE = np.array([[0.5, 0.5, 0.5], [0, 0, 0], [-0.5, 0, 0], [0, 1.5, 0], [0, 0, 0.5]])
_LAYER = np.array([[0, 0, 0.5], [0.5, 0.5, 0.42], [0.5, 0.5, 0.58]])
_NO_SYMMETRY = [
    [0.013, 0.127, 0.931],
    [0.411, 0.303, 0.229],
    [-0.17, 0.777, 1.613],
    [0.643, 0.059, 0.497],
]
_DOUBLED = np.array([[0, 0, 0], [0.25, 0.5, 0.5], [0.5, 0, 0], [0.75, 0.5, 0.5]])
_HEXAGONAL = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]


def _crystal(
    lattice: NDArray[np.float64],
    numbers: list[int],
    frac: ArrayLike,
    oxidation: list[int] | None = None,
) -> Crystal:
    return Crystal(
        np.asarray(lattice, dtype=np.float64),
        np.asarray(frac, dtype=np.float64).reshape(-1, 3),
        np.array(numbers, dtype=np.int64),
        np.array(oxidation or [0] * len(numbers), dtype=np.int64),
    )


def _cell(
    a: float, b: float, c: float, alpha: float, beta: float, gamma: float
) -> NDArray[np.float64]:
    """Return lattice vectors as rows, Å, of lengths in Å and angles in degrees; a along x."""
    cos_a, cos_b, cos_g = np.cos(np.radians([alpha, beta, gamma]))
    sin_g = np.sin(np.radians(gamma))
    y = (cos_a - cos_b * cos_g) / sin_g
    third = c * np.array([cos_b, y, np.sqrt(1 - cos_b**2 - y**2)])
    return np.array([[a, 0, 0], [b * cos_g, b * sin_g, 0], third])
