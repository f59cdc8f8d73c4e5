"""The grammar that keeps sites apart, wherever the cell is written.

With the cell first, z is masked where the site would be too near to an earlier one, and the cell
itself must keep a site from its own images. With the cell last, z is masked where two sites are too
near in every cell, and each lattice parameter to the values with which all pairs can still be far
enough; at gamma these are exact.

Axes: B rows, V vocabulary, R rows that are looked at, S earlier sites, P pairs, I images along one
axis, Q vectors of all rows, G points of a grid, n points of a coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from matgen.generation.grammar import take_rows
from matgen_materium import distance_limits
from matgen_materium.cells import MINIMUM_SQUARED_SHAPE
from matgen_materium.constraint_phases import (
    FIRST_LATTICE,
    FIRST_SITE,
    N_PHASES,
    PhaseGrammar,
)

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_materium.atoms import Atoms

_TOLERANCE_ANG: Final = 1e-9
"""Rounding: a distance that is exactly the one asked for is allowed."""
_VECTORS_TOGETHER: Final = 2**18
"""Vectors looked at together, so that memory does not grow with the rows."""
_N_AXES: Final = 3


class DistanceGrammar(PhaseGrammar):
    """The state adds the points of the sites, (B, 3 N + 1), and the bins of the cell, (B, 7).

    The last column of each takes what is no coordinate, or no lattice parameter, and stays 0.
    """

    def __init__(self, atoms: Atoms, distance_ang: float) -> None:
        """Take the smallest distance."""
        super().__init__(atoms)
        self._squared = max(distance_ang - _TOLERANCE_ANG, 0.0) ** 2
        self._cell_first = atoms.lattice == "first"
        grids = atoms.bins.lattice
        cosines_32 = np.cos(np.radians([(grid.highest, grid.lowest) for grid in grids[3:]]))
        self._largest_cosine = float(np.abs(cosines_32).max())
        axis_P = np.full(N_PHASES, _N_AXES)
        axis_P[[FIRST_SITE + column for column in atoms.site_columns[1:]]] = range(_N_AXES)
        self._z_phase = FIRST_SITE + atoms.site_columns[_N_AXES]
        # Planes of b and c are V / (bc sin α) ≥ a · V / abc apart, and V / abc is never below its
        # least value in the language: no vector is shorter than this times a component in Å.
        self._reach_ang = distance_ang / math.sqrt(MINIMUM_SQUARED_SHAPE)
        self._n_images = _n_images(self._reach_ang / min(grid.lowest for grid in grids[:3]))
        n_points = max(grid.n for grid in grids)
        values_6G = np.full((6, n_points), np.nan)
        for parameter, grid in enumerate(grids):
            values_6G[parameter, : grid.n] = grid.lowest + grid.step * np.arange(grid.n)
        values_6G[3:] = np.cos(np.radians(values_6G[3:]))
        pairs = np.array(
            [(i, j) for j in range(atoms.max_sites) for i in range(j)], dtype=np.int64
        ).reshape(-1, 2)
        self.add_tables(
            axis_P=axis_P,
            values_6G=values_6G,
            cosines_32=cosines_32,
            longest_3=np.array([grid.highest for grid in grids[:3]]),
            shortest_3=np.array([grid.lowest for grid in grids[:3]]),
            pairs_2P=pairs.T,
        )

    def begin(self, rows: int, device: str) -> GrammarState:
        """Return rows without sites and cell."""
        state = super().begin(rows, device)
        n_columns = _N_AXES * self.atoms.max_sites + 1
        return {
            **state,
            "points": torch.zeros((rows, n_columns), dtype=torch.int64, device=device),
            "cell": torch.zeros((rows, 7), dtype=torch.int64, device=device),
        }

    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        """Return the state with one more coordinate or lattice parameter."""
        atoms, phase = self.atoms, state["phase"]
        bins = (ids - atoms.first_bin).clamp(min=0)
        axis = self.tables(state)["axis_P"][phase]
        site = state["n_sites"].clamp(max=atoms.max_sites - 1)
        spare = _N_AXES * atoms.max_sites
        column = torch.where(axis < _N_AXES, _N_AXES * site + axis, spare)
        parameter = phase - FIRST_LATTICE
        at_cell = (parameter >= 0) & (parameter < 6)
        of_site = bins.clamp(max=atoms.bins.n_coordinate - 1).where(column < spare, 0)
        last = self.tables(state)["values_6G"].shape[1] - 1
        of_cell = bins.clamp(max=last).where(at_cell, 0)
        return {
            **super().advance(state, ids, values),
            "points": state["points"].scatter(1, column[:, None], of_site[:, None]),
            "cell": state["cell"].scatter(
                1, parameter.where(at_cell, 6)[:, None], of_cell[:, None]
            ),
        }

    def allowed(self, state: GrammarState) -> Tensor:
        """Return (B, V): all tokens but the bins that would bring sites too near."""
        phase = state["phase"]
        n_tokens = len(self.atoms.vocabulary())
        mask = torch.ones((len(phase), n_tokens), dtype=torch.bool, device=phase.device)
        parameter = phase - FIRST_LATTICE
        n_sites, n_images = self.atoms.max_sites, self._n_images
        n_pairs = 1 if self._cell_first else n_sites * (n_sites - 1) // 2 + 1
        for at_B, free, n_vectors in (
            (phase == self._z_phase, self._free_z, n_sites * n_images**2),
            ((parameter >= 0) & (parameter < 3), self._free_lengths, n_pairs * n_images**3),
            ((parameter >= 3) & (parameter < 6), self._free_angles, n_pairs * n_images**3),
        ):
            self._narrow(mask, state, at_B, free, max(1, _VECTORS_TOGETHER // n_vectors))
        return mask

    def _narrow(
        self,
        mask: Tensor,
        state: GrammarState,
        at_B: Tensor,
        free: Callable[[GrammarState], Tensor],
        n_together: int,
    ) -> None:
        """Take from a new mask, in the rows chosen, the bins that are not free."""
        first = self.atoms.first_bin
        chosen = at_B.nonzero().squeeze(1) if may_look(at_B) else None
        rows = torch.arange(len(at_B), device=at_B.device) if chosen is None else chosen
        for some in torch.split(rows, n_together):
            if not len(some):
                continue
            free_RG = free(take_rows(state, some))
            if chosen is None:
                free_RG = free_RG | ~at_B[some, None]
            last = first + free_RG.shape[1]
            mask[some, first:last] = mask[some, first:last] & free_RG

    def _free_z(self, state: GrammarState) -> Tensor:
        """Return (R, n): the bins of z where the new site is far enough from the earlier ones."""
        tables, n = self.tables(state), self._n
        points_RS3 = self._points(state)
        site_R = state["n_sites"].clamp(max=self.atoms.max_sites - 1)
        n_earlier = self._most(site_R, self.atoms.max_sites - 1)
        now_R13 = points_RS3.gather(1, site_R[:, None, None].expand(-1, 1, _N_AXES))
        earlier_RS3 = points_RS3[:, :n_earlier]
        there_RS1 = (torch.arange(n_earlier, device=site_R.device) < site_R[:, None])[..., None]
        frac_RS2 = _nearest(now_R13[..., :2] - earlier_RS3[..., :2], n)
        x_RSI, y_RSI = self._with_images(frac_RS2).unbind(-2)
        x, y = x_RSI[..., :, None], y_RSI[..., None, :]
        if self._cell_first:
            values_R6 = self._cell(state)
            lengths, cosines = (
                values_R6[:, None, None, None, :3],
                values_R6[:, None, None, None, 3:],
            )
            low, high = distance_limits.z_in_cell(x, y, lengths, cosines, self._squared)
        else:
            low, high = distance_limits.z_in_any_cell(
                x, y, tables["longest_3"], self._largest_cosine, self._squared
            )
        z_RS1 = earlier_RS3[..., 2:]
        low_RK = (torch.where(there_RS1, low.flatten(2) * n, 0.0) + z_RS1).flatten(1)
        high_RK = (torch.where(there_RS1, high.flatten(2) * n, 0.0) + z_RS1).flatten(1)
        if not may_look(low_RK):
            return distance_limits.free_bins(low_RK, high_RK, n)
        near_R = (low_RK < high_RK).any(1)
        free_RG = torch.ones((len(near_R), n), dtype=torch.bool)
        free_RG[near_R] = distance_limits.free_bins(low_RK[near_R], high_RK[near_R], n)
        return free_RG

    def _free_lengths(self, state: GrammarState) -> Tensor:
        """Return (R, G): the values of the length to be written that can part all sites."""
        tables, parameter = self.tables(state), state["phase"] - FIRST_LATTICE
        place = torch.arange(_N_AXES, device=parameter.device)
        written_R3, which_R3 = place < parameter[:, None], place == parameter[:, None]
        lengths_R3 = torch.where(written_R3, self._cell(state)[:, :3], tables["longest_3"])
        least_R3 = torch.where(which_R3, tables["shortest_3"], lengths_R3)
        row_Q, frac_Q3, there_Q = self._vectors(state, least_R3)
        cosines_Q32 = tables["cosines_32"].expand(len(row_Q), -1, -1)
        needed_Q = distance_limits.shortest_length(
            frac_Q3, lengths_R3[row_Q], cosines_Q32, which_R3[row_Q], self._squared
        )
        needed_Q = needed_Q.masked_fill(~there_Q, 0.0)
        needed_R = torch.zeros_like(lengths_R3[:, 0]).scatter_reduce(0, row_Q, needed_Q, "amax")
        return tables["values_6G"][parameter.clamp(0, 2)] >= needed_R[:, None]

    def _free_angles(self, state: GrammarState) -> Tensor:
        """Return (R, G): the values of the angle to be written that can part all sites."""
        tables, angle = self.tables(state), state["phase"] - FIRST_LATTICE - 3
        place = torch.arange(_N_AXES, device=angle.device)
        written_R31, which_R3 = (place < angle[:, None])[..., None], place == angle[:, None]
        values_R6 = self._cell(state)
        cosines_R32 = torch.where(written_R31, values_R6[:, 3:, None], tables["cosines_32"])
        lengths_R3 = values_R6[:, :3]
        row_Q, frac_Q3, there_Q = self._vectors(state, lengths_R3)
        low_Q, high_Q = distance_limits.cosine_limits(
            frac_Q3, lengths_R3[row_Q], cosines_R32[row_Q], which_R3[row_Q], self._squared
        )
        low_Q = low_Q.masked_fill(~there_Q, -torch.inf)
        high_Q = high_Q.masked_fill(~there_Q, torch.inf)
        any_R = torch.full_like(lengths_R3[:, 0], torch.inf)
        low_R = (-any_R).scatter_reduce(0, row_Q, low_Q, "amax")
        high_R = any_R.scatter_reduce(0, row_Q, high_Q, "amin")
        cosines_RG = tables["values_6G"][3 + angle.clamp(0, 2)]
        return (cosines_RG >= low_R[:, None]) & (cosines_RG <= high_R[:, None])

    def _vectors(self, state: GrammarState, least_R3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (Q,) rows, (Q, 3) vectors between sites and to images, and (Q,) which count.

        On a CPU only those that count and can be too short come back, few of all.

        Args:
            state: Of the rows that are looked at.
            least_R3: Lengths of the smallest cell that matters, Å.
        """
        tables, n_sites_R = self.tables(state), state["n_sites"]
        n_sites = 0 if self._cell_first else self._most(n_sites_R, self.atoms.max_sites)
        first, second = tables["pairs_2P"][:, : n_sites * (n_sites - 1) // 2].unbind()
        points_RS3 = self._points(state)
        between_RP3 = _nearest(points_RS3[:, first] - points_RS3[:, second], self._n)
        # The first pair is a site with itself, of which the vector 0 is no distance.
        frac_RP3 = torch.cat([torch.zeros_like(least_R3)[:, None], between_RP3], dim=1)
        there_RP = torch.cat(
            [torch.ones_like(n_sites_R[:, None]), second < n_sites_R[:, None]], dim=1
        ).bool()
        frac_RP3I = self._with_images(frac_RP3)
        near_RP3I = frac_RP3I.abs() * least_R3[:, None, :, None] < self._reach_ang
        x, y, z = near_RP3I.unbind(2)
        there = x[..., :, None, None] & y[..., None, :, None] & z[..., None, None, :]
        there = there & there_RP[..., None, None, None]
        own = torch.ones_like(there[0])
        own[0, 0, 0, 0] = False
        there = there & own
        if may_look(there):
            row, pair, *images = there.nonzero().unbind(1)
            axes = [frac_RP3I[row, pair, axis, image] for axis, image in enumerate(images)]
            return row, torch.stack(axes, dim=-1), torch.ones_like(row, dtype=torch.bool)
        x, y, z = frac_RP3I.unbind(2)
        axes = [x[..., :, None, None], y[..., None, :, None], z[..., None, None, :]]
        grid = [axis.expand(there.shape) for axis in axes]
        rows = torch.arange(len(there), device=there.device)
        return (
            rows.repeat_interleave(there[0].numel()),
            torch.stack(grid, dim=-1).reshape(-1, _N_AXES),
            there.reshape(-1),
        )

    def _with_images(self, frac: Tensor) -> Tensor:
        """Return (…, I) a nearest component and its images, ascending in magnitude.

        u, u - 1, u + 1, u - 2 … for a u from 0 to 1/2: the k-th is never below k / 2.
        """
        k = torch.arange(self._n_images, device=frac.device)
        shifts = torch.where(k % 2 == 1, -1, 1) * ((k + 1) // 2)
        sign = torch.where(frac < 0, -1.0, 1.0)
        return frac[..., None] + sign[..., None] * shifts

    @property
    def _n(self) -> int:
        return self.atoms.bins.n_coordinate

    def _points(self, state: GrammarState) -> Tensor:
        """Return (R, N, 3) points of all sites, 0 where none is written yet."""
        return state["points"][:, :-1].reshape(-1, self.atoms.max_sites, _N_AXES)

    def _cell(self, state: GrammarState) -> Tensor:
        """Return (R, 6) lengths and cosines, meaningless where not written yet."""
        values_6G = self.tables(state)["values_6G"]
        parameter = torch.arange(6, device=values_6G.device)
        return values_6G[parameter, state["cell"][:, :6]]

    def _most(self, numbers_R: Tensor, otherwise: int) -> int:
        """Return the largest of some numbers; on a GPU, what none of them is above."""
        return int(numbers_R.amax()) if may_look(numbers_R) else otherwise


def may_look(tensor: Tensor) -> bool:
    """Whether values are free to look at: on a CPU, where it saves most of the work.

    A GPU would have to wait, and does all rows.
    """
    return tensor.device.type == "cpu"


def _nearest(difference: Tensor, n: int) -> Tensor:
    """Return differences of points as fractions, -1/2 to 1/2."""
    return ((difference + n // 2).remainder(n) - n // 2).double() / n


def _n_images(reach: float) -> int:
    """Return how many images of a nearest component can be smaller in magnitude than ``reach``."""
    return max(1, math.ceil(2 * reach))
