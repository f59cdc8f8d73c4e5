"""The reduced cells of a lattice system: what each lattice parameter may be, given earlier ones.

An alternative (a Niggli character) leaves some parameters free and makes the others functions of
earlier ones. Those are known to half a step of their grids, so a function's value is known to what
that makes of it, plus half a step of its own grid. Equal lengths and equal angles share a token.

Axes: R rows, K alternatives, G points of a grid, M moves of the free parameters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgen_materium.cells import MINIMUM_SQUARED_SHAPE
from matgen_materium.niggli_characters import EQUALS_D, EQUALS_E, FREE, characters_of

if TYPE_CHECKING:
    from matgen_materium.bins import Bins
    from matgen_materium.niggli_characters import Character

A, B, C, ALPHA, BETA, GAMMA = range(6)
_ROUNDING: Final = 1e-6
"""Part of a step by which a value may miss its bounds, so that ties are never lost to rounding."""
_AHEAD_STEPS: Final = 2.0
"""Steps beyond the end of a grid at which a later angle still counts as one that will be found:
about what the uncertainty of earlier ones makes of it."""
_ROOMY: Final = MINIMUM_SQUARED_SHAPE + 0.01
"""(V / abc)² that later angles must leave: enough that rounding them to their grids still closes
the cell, and far below the 1/2 of any reduced one."""
_TRIED: Final = (0.02, 0.25, 0.5, 0.75, 0.98)
"""Where in its interval a free beta is tried, looking ahead from alpha."""


class ReducedLattices:
    """The reduced cells of one lattice system, on the grids of ``bins``."""

    def __init__(self, bins: Bins, system: str) -> None:
        """Take the grids and the name of a lattice system."""
        rows = characters_of(system)
        self._anything = system == "triclinic"
        self._host = _tables(rows)
        self._n_alternatives = len(rows)
        self._n = [grid.n for grid in bins.lattice]
        self._steps = [grid.step for grid in bins.lattice]
        self._lowest = [grid.lowest for grid in bins.lattice]
        self._highest = [grid.highest for grid in bins.lattice]
        self._by_device: dict[str, dict[str, Tensor]] = {}

    def holds(self, cell_6: NDArray[np.int64]) -> bool:
        """Whether the bins of a whole cell belong to an alternative."""
        if self._anything:
            return True
        return bool(self._alive(torch.from_numpy(cell_6)[None], GAMMA + 1).any())

    def allowed(self, cell_R6: Tensor, place: int) -> Tensor:
        """Return (R, G): the bins of a parameter that some alternative allows, given the earlier.

        Of lengths, those in ascending order and equal where they must be; a reduced cell's later
        parameters then always fit. Of angles, those that leave the later ones.
        """
        if self._anything:
            shape = (len(cell_R6), self._n[place])
            return torch.ones(shape, dtype=torch.bool, device=cell_R6.device)
        values_RKG = self._grid(place, cell_R6)[None, None, :]
        alive_RK = self._alive(cell_R6, place)
        if place < ALPHA:
            return (alive_RK[:, :, None] & self._lengths_fit(cell_R6, place, values_RKG)).any(1)
        fits = alive_RK[:, :, None] & self._angles_fit(cell_R6, place, values_RKG)
        known = self._values(cell_R6)[:, :, None, None]
        lengths = known[:, 0], known[:, 1], known[:, 2]
        angles = (*(known[:, i] for i in range(ALPHA, place)), values_RKG)
        cosines = [torch.cos(torch.deg2rad(angle)) for angle in angles]
        if place == ALPHA:
            fits = fits & self._leaves_beta(lengths, *cosines)
        elif place == BETA:
            fits = fits & self._leaves_gamma(lengths, *cosines)
        else:
            x, y, z = cosines
            fits = fits & (_squared_shape(x, y, z) >= MINIMUM_SQUARED_SHAPE)
        return fits.any(1)

    def _alive(self, cell_R6: Tensor, written: int) -> Tensor:
        """Return (R, K): the alternatives that the first ``written`` parameters allow."""
        values = self._values(cell_R6)
        alive = torch.ones(
            (len(cell_R6), self._n_alternatives), dtype=torch.bool, device=cell_R6.device
        )
        for place in range(written):
            value = values[:, place, None, None]
            fits = self._lengths_fit if place < ALPHA else self._angles_fit
            alive = alive & fits(cell_R6, place, value).squeeze(2)
        return alive

    def _lengths_fit(self, cell_R6: Tensor, place: int, value: Tensor) -> Tensor:
        """Return (R, K, G): no shorter than the length before, and equal to it where tied."""
        if place == A:
            return torch.ones(
                (len(cell_R6), self._n_alternatives, value.shape[2]),
                dtype=torch.bool,
                device=value.device,
            )
        before = self._values(cell_R6)[:, place - 1, None, None]
        half = self._steps[place] * (0.5 + _ROUNDING)
        tied = self._on(cell_R6)["a_is_b" if place == B else "b_is_c"][:, None]
        return (value >= before - half) & (~tied | (value <= before + half))

    def _angles_fit(self, cell_R6: Tensor, place: int, value: Tensor) -> Tensor:
        """Return (R, K, G): within what is known of the alternative's function."""
        tables = self._on(cell_R6)
        middle_RK, spread_RK = self._function(cell_R6, place)
        half = spread_RK + self._steps[place] * (0.5 + _ROUNDING)
        near = (value - middle_RK[:, :, None]).abs() <= half[:, :, None]
        return near | tables["free"][:, place - ALPHA, None]

    def _function(self, cell_R6: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Return (R, K) values of an angle's function, degrees, and how uncertain each is.

        The uncertainty is what half a step of each free parameter makes of it, tied ones moving
        along, and none where two angles are equal.
        """
        tables = self._on(cell_R6)
        values = self._values(cell_R6)
        moves_MK6 = tables["moves"] * torch.tensor(
            self._steps, dtype=torch.float64, device=values.device
        )
        moved_MRK6 = values[None, :, None, :] + 0.5 * moves_MK6[:, None]
        a, b, c, alpha, beta, _ = moved_MRK6.unbind(-1)
        angles = [torch.cos(torch.deg2rad(angle)) for angle in (alpha, beta)][: place - ALPHA]
        entry = tables["entries"][:, place - ALPHA]
        found_MRK = _angle(_cosine(entry, (a, b, c), angles))
        middle_RK = found_MRK[0]
        # The first move is none; then each free parameter up and down.
        away = (found_MRK[1:] - middle_RK).abs()
        spread_RK = torch.maximum(away[0::2], away[1::2]).sum(0)
        if place > ALPHA:
            as_alpha = tables["as_alpha"][:, place - ALPHA]
            middle_RK = torch.where(as_alpha, values[:, ALPHA, None], middle_RK)
            as_beta = tables["as_beta"][:, place - ALPHA]
            middle_RK = torch.where(as_beta, values[:, BETA, None], middle_RK)
            spread_RK = spread_RK.masked_fill(as_alpha | as_beta, 0.0)
        return middle_RK, spread_RK

    def _leaves_beta(self, lengths: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        """Return (R, K, G): some beta follows cos alpha, and some gamma both; a few are tried."""
        tables = self._on(x)
        free = tables["free"][:, 1, None]
        # Where gamma is free too, or follows from alpha, a right angle leaves the most room.
        given = _cosine(tables["entries"][:, 1, :, None], lengths, [x]).masked_fill(free, 0.0)
        leaves = self._in_grid(given, BETA) & self._leaves_gamma(lengths, x, given)
        searched = self._searched
        if not searched:
            return leaves
        # Beta is free and gamma a function of it, linear in its cosine: the betas whose gamma is
        # on the grid are an interval.
        some = {name: tables[name][searched] for name in ("entries", "free")}
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        entry = some["entries"][:, 2, :, None]
        offset = _cosine(entry, lengths, [x, zero])
        slope = _cosine(entry, lengths, [x, one]) - offset
        ends, (least, most) = self._cosines(GAMMA), self._cosines(BETA)
        first, second = (ends[0] - offset) / slope, (ends[1] - offset) / slope
        low = torch.minimum(first, second).clamp(min=least)
        high = torch.maximum(first, second).clamp(max=most)
        found = torch.zeros_like(leaves[:, searched])
        for part in _TRIED:
            y = low + part * (high - low)
            z = offset + slope * y
            found |= (low <= high) & (_squared_shape(x, y, z) >= _ROOMY)
        leaves = leaves.clone()
        leaves[:, searched] |= found
        return leaves

    @property
    def _searched(self) -> list[int]:
        """Alternatives with a free beta and a gamma that depends on it."""
        free, entries = self._host["free"], self._host["entries"]
        follows = free[:, 1] & ~free[:, 2] & ~self._host["as_beta"][:, 2] & (entries[:, 2, 3] != 0)
        found: list[int] = follows.nonzero().squeeze(1).tolist()
        return found

    def _leaves_gamma(self, lengths: tuple[Tensor, Tensor, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return (R, K, G): some gamma on the grid closes the cell of cos alpha and cos beta."""
        tables = self._on(x)
        given = _cosine(tables["entries"][:, 2, :, None], lengths, [x, y])
        # The widest cell of these angles has cos gamma = cos alpha cos beta.
        z = torch.where(tables["free"][:, 2, None], x * y, given)
        z = torch.where(tables["as_alpha"][:, 2, None], x, z)
        z = torch.where(tables["as_beta"][:, 2, None], y, z)
        nearest = z.clamp(*self._cosines(GAMMA))
        return self._in_grid(z, GAMMA) & (_squared_shape(x, y, nearest) >= _ROOMY)

    def _in_grid(self, cosine: Tensor, place: int) -> Tensor:
        """Whether a later angle is on its grid, or so near that its uncertainty may reach it."""
        least, most = self._cosines(place, beyond=_AHEAD_STEPS * self._steps[place])
        return (cosine >= least) & (cosine <= most)

    def _cosines(self, place: int, *, beyond: float = 0.0) -> tuple[float, float]:
        """Return the least and the largest cosine of an angle, some degrees beyond its grid."""
        return (
            math.cos(math.radians(self._highest[place] + beyond)),
            math.cos(math.radians(self._lowest[place] - beyond)),
        )

    def _values(self, cell_R6: Tensor) -> Tensor:
        """Return (R, 6) Å and degrees."""
        tables = self._on(cell_R6)
        return tables["lowest"] + tables["step"] * cell_R6

    def _grid(self, place: int, like: Tensor) -> Tensor:
        """Return the (G,) points of a parameter."""
        at = torch.arange(self._n[place], dtype=torch.float64, device=like.device)
        return self._lowest[place] + self._steps[place] * at

    def _on(self, like: Tensor) -> dict[str, Tensor]:
        key = str(like.device)
        if key not in self._by_device:  # once per device, not once per step
            host = {
                **self._host,
                "lowest": torch.tensor(self._lowest, dtype=torch.float64),
                "step": torch.tensor(self._steps, dtype=torch.float64),
            }
            self._by_device[key] = {name: table.to(like.device) for name, table in host.items()}
        return self._by_device[key]


def _tables(rows: tuple[Character, ...]) -> dict[str, Tensor]:
    """Return the alternatives as tensors.

    ``entries`` (K, 3, 4) functions of alpha, beta, gamma; ``free`` (K, 3); ``as_alpha`` and
    ``as_beta`` (K, 3) where an angle equals an earlier one; ``a_is_b`` and ``b_is_c`` (K,);
    ``moves`` (M, K, 6): none, then each free parameter up and down by one, tied ones with it.
    """
    entries = [[row.d, row.e, row.f] for row in rows]
    free = np.array([[entry is FREE for entry in three] for three in entries])
    a_is_b = np.array([row.equal in {"AB", "ABC"} for row in rows])
    b_is_c = np.array([row.equal in {"BC", "ABC"} for row in rows])
    as_alpha, as_beta = np.zeros_like(free), np.zeros_like(free)
    for k, row in enumerate(rows):
        # cos alpha = D / bc, cos beta = E / ac, cos gamma = F / ab.
        as_alpha[k, 1] = row.e == EQUALS_D and a_is_b[k]
        as_alpha[k, 2] = row.f == EQUALS_D and a_is_b[k] and b_is_c[k]
        as_beta[k, 2] = row.f == EQUALS_E and b_is_c[k]
    moves = np.zeros((11, len(rows), 6))
    for k in range(len(rows)):
        tied = {A: [A], B: [] if a_is_b[k] else [B], C: [] if b_is_c[k] else [C]}
        if a_is_b[k]:
            tied[A] += [B]
        if b_is_c[k]:
            tied[A if a_is_b[k] else B] += [C]
        for angle in (ALPHA, BETA):
            tied[angle] = [angle] if free[k, angle - ALPHA] else []
        for place, together in tied.items():
            moves[1 + 2 * place, k, together] = 1.0
            moves[2 + 2 * place, k, together] = -1.0
    nothing = (0.0, 0.0, 0.0, 0.0)
    return {
        "entries": torch.tensor(
            [[nothing if entry is None else entry for entry in three] for three in entries],
            dtype=torch.float64,
        ),
        "free": torch.from_numpy(free),
        "as_alpha": torch.from_numpy(as_alpha),
        "as_beta": torch.from_numpy(as_beta),
        "a_is_b": torch.from_numpy(a_is_b),
        "b_is_c": torch.from_numpy(b_is_c),
        "moves": torch.from_numpy(moves),
    }


def _cosine(entry: Tensor, lengths: tuple[Tensor, Tensor, Tensor], cosines: list[Tensor]) -> Tensor:
    """Return the cosine of the next angle by its function.

    Args:
        entry: (K, 4), or (K, 4, 1) where points of a grid follow the alternatives.
        lengths: a, b, c; broadcast with the alternatives.
        cosines: Of the angles before: none, alpha, or alpha and beta.
    """
    a, b, c = lengths
    in_a, in_b, in_d, in_e = entry.unbind(1)
    product = in_a * a * a + in_b * b * b
    if cosines:
        product = product + in_d * b * c * cosines[0]
    if len(cosines) == 2:
        product = product + in_e * a * c * cosines[1]
    i, j = ((b, c), (a, c), (a, b))[len(cosines)]
    return product / (i * j)


def _angle(cosine: Tensor) -> Tensor:
    """Return degrees; 0 or 180 where there is no such angle."""
    return torch.rad2deg(torch.acos(cosine.clamp(-1.0, 1.0)))


def _squared_shape(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return (V / abc)² of three cosines."""
    return 1.0 - x * x - y * y - z * z + 2.0 * x * y * z
