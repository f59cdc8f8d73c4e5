"""What the tokens of ``Atoms`` are known to be: elements, charges, and places on a circle.

A network that learns one vector per token has to find out from the data that [Fe|+2] and [Fe|+3]
are one element, and that bin 577 lies beside bin 576 and half a cell from bin 1. Symmetry makes
most coordinates of a crystal another one plus a fraction, or its negative; where bins are waves,
these are turns of a vector. Networks that add numbers on a circle grow such waves by themselves,
after very long training (Nanda et al., arXiv:2301.05217).

Axes: V tokens, F features, S species, B bins, H waves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matgen_materium.atoms import Atoms

HARMONICS: Final = (*range(1, 17), 18, 24, 32, 36, 48, 64, 72, 96, 128, 144, 192, 288, 384, 576)
"""Waves per cell: all low ones, then those that divide the default grid of 1,152 points."""
_NOBLE_GASES: Final = (2, 10, 18, 36, 54, 86, 118)
_F_BLOCK: Final = 18
"""Place of lanthanides and actinides, after those of the 18 groups."""
_WIDEST_CHARGE: Final = 8


def token_features(atoms: Atoms) -> NDArray[np.float32]:
    """Return (V, F): rows of length 1, or of zeros for tokens that are neither species nor bin."""
    species_SF = _species_features(atoms.species_pairs)
    bins_BF = _bin_features(atoms.bins.n_tokens, atoms.bins.n_coordinate)
    n_features = species_SF.shape[1]
    n_tokens = atoms.first_bin + len(bins_BF)
    features_VF = np.zeros((n_tokens, n_features + bins_BF.shape[1]), dtype=np.float32)
    features_VF[atoms.first_species : atoms.first_bin, :n_features] = species_SF
    features_VF[atoms.first_bin :, n_features:] = bins_BF
    return features_VF


def group_of(number: int) -> int:
    """Return 0 to 17 for groups 1 to 18 of the periodic table, 18 for its f block."""
    period = int(np.searchsorted(_NOBLE_GASES, number))
    before = _NOBLE_GASES[period - 1] if period else 0
    place, length = number - before, _NOBLE_GASES[period] - before
    if place <= 2 and (period or place == 1):
        return place - 1
    from_the_end = length - place
    return 17 - from_the_end if from_the_end < 16 else _F_BLOCK


def _species_features(pairs_S2: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (S, F) element, period, group and charge, each as one of many."""
    numbers_S, charges_S = pairs_S2.T
    parts = (
        np.eye(numbers_S.max() + 1)[numbers_S],
        np.eye(len(_NOBLE_GASES))[np.searchsorted(_NOBLE_GASES, numbers_S)],
        np.eye(_F_BLOCK + 1)[[group_of(number) for number in numbers_S.tolist()]],
        np.eye(2 * _WIDEST_CHARGE + 1)[
            np.clip(charges_S, -_WIDEST_CHARGE, _WIDEST_CHARGE) + _WIDEST_CHARGE
        ],
    )
    features_SF: NDArray[np.float64] = np.concatenate(parts, axis=1) / np.sqrt(len(parts))
    return features_SF


def _bin_features(n_bins: int, n_coordinate: int) -> NDArray[np.float64]:
    """Return (B, 2H) cosines and sines of each bin's place on the circle of coordinates.

    The same bins write the lattice; there the low waves say what is long and what is short.
    """
    angles_BH = 2 * np.pi * np.arange(n_bins)[:, None] * np.array(HARMONICS) / n_coordinate
    waves_BF = np.concatenate([np.cos(angles_BH), np.sin(angles_BH)], axis=1)
    features_BF: NDArray[np.float64] = waves_BF / np.sqrt(len(HARMONICS))
    return features_BF
