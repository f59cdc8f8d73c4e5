"""Tables of look-ahead: from which charges can the sites still to be written come to zero?

A site adds one of its element's oxidation states. With policy ``charged atoms`` some state must
differ from 0, so tables also tell apart whether one does so far.

Axes: Q charge so far, the middle one is 0; Z whether a state other than 0 was written, 0 or 1;
J sites still free to take any element.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matgen_constraints.budget import Neutrality

LARGEST_TABLE: Final = 2**25
"""Entries, one byte each: 32 MB, and about a second to fill."""


def at_end(largest_charge: int, neutrality: Neutrality) -> NDArray[np.bool_]:
    """Return (Q, Z) bool: whether a crystal may end so."""
    end_QZ = np.zeros((2 * largest_charge + 1, 2), dtype=np.bool_)
    end_QZ[largest_charge] = neutrality != "charged atoms", True
    return end_QZ


def before(reach: NDArray[np.bool_], states: Sequence[int]) -> NDArray[np.bool_]:
    """Return from where ``reach`` is entered by one site of any of these oxidation states.

    Args:
        reach: (…, Q, Z).
        states: Of the site; none is larger than the largest charge.
    """
    n_charges = reach.shape[-2]
    earlier = np.zeros_like(reach)
    for state in states:
        after = reach if state == 0 else reach[..., 1:]
        if state >= 0:
            earlier[..., : n_charges - state, :] |= after[..., state:, :]
        else:
            earlier[..., -state:, :] |= after[..., :state, :]
    return earlier


def with_free_sites(
    reach: NDArray[np.bool_], states: Sequence[int], n_sites: int
) -> NDArray[np.bool_]:
    """Return (J, …, Q, Z): from where ``reach`` is entered by 0 to ``n_sites`` sites."""
    layers = [reach]
    for _ in range(n_sites):
        layers.append(before(layers[-1], states))
    return np.stack(layers)


def with_atoms(
    reach: NDArray[np.bool_], counts: Sequence[int], states: Sequence[Sequence[int]]
) -> NDArray[np.bool_]:
    """Return from where ``reach`` is entered by the atoms that are still missing.

    Args:
        reach: (…, Q, Z).
        counts: Most atoms of each element that can be missing.
        states: Oxidation states of each element.

    Returns:
        One axis more per element, in front and in their order: how many of it are missing.
    """
    for count, own in zip(reversed(counts), reversed(states), strict=True):
        reach = with_free_sites(reach, own, count)
    return reach


def within_sites(reach: NDArray[np.bool_], least: int, greatest: int) -> NDArray[np.bool_]:
    """Return from where a cell of a size in a range can be completed.

    Args:
        reach: (R, J, Q, Z), the second axis counts sites still to be written.
        least: Fewest sites.
        greatest: Most sites.

    Returns:
        (R, greatest + 1, Q, Z), the second axis counts sites spoken for.
    """
    return np.stack(
        [
            reach[:, max(least - spoken_for, 0) : greatest - spoken_for + 1].any(axis=1)
            for spoken_for in range(greatest + 1)
        ],
        axis=1,
    )
