"""Lattice parameters and lattice vectors, and which parameters make a usable cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

MINIMUM_SQUARED_SHAPE: Final = 0.2501
"""Smallest allowed (V / abc)². A reduced cell never falls below 1/2 (Cassels, "An Introduction to
the Geometry of Numbers", ch. I: abc ≤ √2 V), so real crystals keep a wide margin, quantised ones
too, and every cell that passes decodes to a proper volume."""


def lattice_parameters(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (…, 6) a, b, c in Å and alpha, beta, gamma in degrees of (…, 3, 3) row vectors."""
    lengths = np.sqrt((lattice**2).sum(axis=-1))
    unit = lattice / lengths[..., None]
    following = unit[..., [1, 0, 0], :], unit[..., [2, 2, 1], :]
    cosines = (following[0] * following[1]).sum(axis=-1)
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return np.concatenate([lengths, angles], axis=-1)


def lattice_vectors(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (…, 3, 3) row vectors of (…, 6) parameters, right-handed, a along x and b in xy.

    Cosines of 60, 90 and 120 degrees are exact, so special angles stay special.
    """
    a, b, c = np.moveaxis(parameters[..., :3], -1, 0)
    cos_alpha, cos_beta, cos_gamma = np.moveaxis(_cosines(parameters[..., 3:]), -1, 0)
    sin_gamma = np.sqrt(1.0 - cos_gamma**2)
    c_y = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    c_z = np.sqrt(np.maximum(1.0 - cos_beta**2 - c_y**2, 0.0))
    zero = np.zeros_like(a)
    rows = [
        np.stack([a, zero, zero], axis=-1),
        np.stack([b * cos_gamma, b * sin_gamma, zero], axis=-1),
        np.stack([c * cos_beta, c * c_y, c * c_z], axis=-1),
    ]
    return np.stack(rows, axis=-2)


def squared_shape(
    cos_alpha: NDArray[np.float64],
    cos_beta: NDArray[np.float64],
    cos_gamma: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (V / abc)², negative where the angles close no cell; broadcasts."""
    return 1.0 - cos_alpha**2 - cos_beta**2 - cos_gamma**2 + 2.0 * cos_alpha * cos_beta * cos_gamma


def cell_volume(parameters: Sequence[float]) -> float:
    """Return the volume of six parameters, Å³; 0 where the angles close no cell."""
    a, b, c = parameters[:3]
    squared = squared_shape(*np.cos(np.radians(np.array(parameters[3:]))))
    return float(a * b * c * np.sqrt(np.maximum(squared, 0.0)))


def _cosines(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    cosines = np.cos(np.radians(angles))
    return np.where(
        np.abs(cosines * 2 - np.rint(cosines * 2)) < 1e-12, np.rint(cosines * 2) / 2, cosines
    )
