"""Tables of look-ahead: from which charges can the sites still to be written come to zero?

A site adds one of its element's oxidation states. With policy ``charged atoms`` some state must
differ from 0, so tables also tell apart whether one does so far.

Axes: Q charge so far, the middle one is 0; Z whether a state other than 0 was written, 0 or 1;
J sites still free to take any element; B rows, S species tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_constraints.budget import Neutrality

LARGEST_TABLE: Final = 2**25
"""Entries, one byte each: 32 MB, and about a second to fill."""


@dataclass(frozen=True)
class ChargeAxes:
    """The last two axes of every table, Q and Z.

    Attributes:
        most_sites: Of a cell.
        largest_state: Largest oxidation state of a species, either sign.
        neutrality: What the states must sum to.
    """

    most_sites: int
    largest_state: int
    neutrality: Neutrality

    @property
    def middle(self) -> int:
        """Place of charge 0 along Q, and the largest charge."""
        return self.most_sites * self.largest_state

    @property
    def size(self) -> int:
        """Entries along both axes."""
        return 2 * (2 * self.middle + 1)

    def at_end(self) -> NDArray[np.bool_]:
        """Return (Q, Z) bool: whether a crystal may end so."""
        end_QZ = np.zeros((2 * self.middle + 1, 2), dtype=np.bool_)
        end_QZ[self.middle] = self.neutrality != "charged atoms", True
        return end_QZ

    def ends(self, state: GrammarState) -> Tensor:
        """Return (B,) bool: whether a row may end here."""
        if self.neutrality == "free":
            return torch.ones_like(state["charge"], dtype=torch.bool)
        neutral_B = state["charge"] == 0
        return neutral_B & (state["charged"] == 1) if self.neutrality != "neutral" else neutral_B

    def after(self, state: GrammarState, tables: Mapping[str, Tensor]) -> Tensor:
        """Return (B, S) place along both axes, flattened, after each species.

        A cell that is full, and a row that took a token it was not allowed, stay inside the table.
        """
        farthest = self.middle - self.largest_state
        charge_B = state["charge"].clamp(-farthest, farthest) + self.middle
        charge_BS = 2 * charge_B[:, None] + 2 * tables["states_S"]
        return charge_BS + (state["charged"][:, None] | (tables["states_S"] != 0).long())


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
