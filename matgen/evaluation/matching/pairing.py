"""How well two reduced cells pair up: StructureMatcher's search without its rejections one by one.

pymatgen tries every lattice of one cell that is like the other's and, on each, every translation.
Nearly all of them fail in the fractional coordinates. Here all are tried at once with a little
slack; what is left, nothing for most pairs that differ, goes through pymatgen's own arithmetic in
pymatgen's order, so that answers and distances are the same to the last bit.

Letters: M lattices, T translations, C pairs of them, N sites of the wanted cell, J of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from matgen.evaluation.matching.lattice_maps import LatticeMaps, lattice_maps
from matgen.evaluation.matching.reduction import ReducedCell
from matgen.evaluation.matching.tolerances import Tolerances

if TYPE_CHECKING:
    from pymatgen.core.lattice import Lattice

_SLACK: Final = 1e-6
_ABSOLUTE_SLACK: Final = 1e-9
_LARGEST_STEP: Final = 200_000
"""Coordinates compared at once; bounds memory."""
_SAME: Final = 1e-5
"""A mean distance below which pymatgen looks for no better pairing."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """The best pairing of the sites of two cells, in units of (V/N)^(1/3).

    Attributes:
        rms: Root mean square distance; of a search that stops at the first match, the largest.
        largest: Largest distance of paired sites.
    """

    rms: float
    largest: float


def pairing(
    first: ReducedCell,
    second: ReducedCell,
    tolerances: Tolerances,
    *,
    subset: bool = False,
    best: bool = False,
) -> Pairing | None:
    """Return how the sites of two cells pair up, None where they do not match.

    Args:
        first: pymatgen's ``struct1``.
        second: pymatgen's ``struct2``; the answer is not quite symmetric.
        tolerances: What may differ.
        subset: Let some sites of the larger cell stay alone (``allow_subset``).
        best: Search for the smallest mean distance (``get_rms_dist``); otherwise any pairing whose
            largest distance is within tolerance will do (``fit``).

    Source: pymatgen-core 2026.10.16, ``StructureMatcher._preprocess``, ``_match`` and
    ``_strict_match``.
    """
    n_cells, of_first = 1, True
    if tolerances.supercell:
        ratio = len(second) / len(first)
        n_cells, of_first = (round(1 / ratio), False) if ratio < 2 / 3 else (round(ratio), True)
    times = n_cells if of_first else 1 / n_cells
    first_lattice, second_lattice = first.lattice, second.lattice
    if tolerances.scale:
        stretch = (second.volume / (first.volume * times)) ** (1 / 6)
        first_lattice, second_lattice = first_lattice * stretch, second_lattice / stretch
    one, other = _Cell(first_lattice, first), _Cell(second_lattice, second)
    if len(first) * times < len(second):
        one, other, of_first = other, one, not of_first
    if not _could_pair(one, other, n_cells, of_first=of_first, subset=subset):
        return None
    return _Search(one, other, n_cells, tolerances, of_first=of_first).result(best=best)


class _Cell:
    """A reduced cell on its scaled lattice."""

    def __init__(self, matrix: NDArray[np.float64], cell: ReducedCell) -> None:
        self.matrix = matrix
        self.frac = cell.frac
        self.kinds = cell.kinds
        self.counts = cell.counts

    def __len__(self) -> int:
        return len(self.kinds)

    @cached_property
    def lattice(self) -> Lattice:
        from pymatgen.core.lattice import Lattice

        return Lattice(self.matrix)

    @cached_property
    def parameters(self) -> NDArray[np.float64]:
        return np.array(self.lattice.parameters)

    @cached_property
    def cart(self) -> NDArray[np.float64]:
        # One product per site, as pymatgen: a product of all at once may round otherwise.
        return np.array([np.dot(site, self.matrix) for site in self.frac])


def _could_pair(one: _Cell, other: _Cell, n_cells: int, *, of_first: bool, subset: bool) -> bool:
    """Whether every site of ``other`` has one of its kind to itself in ``one``."""
    has, wants = (n_cells, 1) if of_first else (1, n_cells)
    if not subset and len(one) * has != len(other) * wants:
        return False
    return all(
        one.counts.get(kind, 0) * has >= count * wants for kind, count in other.counts.items()
    )


class _Search:
    """One run over lattices and translations; sites of ``other`` are looked for among ``one``'s."""

    def __init__(
        self, one: _Cell, other: _Cell, n_cells: int, tolerances: Tolerances, *, of_first: bool
    ) -> None:
        self.one, self.other, self.n_cells = one, other, n_cells
        self.repeated, self.target = (one, other) if of_first else (other, one)
        self.of_first = of_first
        self.tolerances = tolerances
        kinds_one = np.repeat(one.kinds, n_cells) if of_first else one.kinds
        kinds_other = other.kinds if of_first else np.repeat(other.kinds, n_cells)
        self.barred = kinds_other[:, None] != kinds_one[None, :]
        self.anchor = int(np.argmax(self.barred.sum(axis=-1)))
        starts = np.flatnonzero(~self.barred[self.anchor])
        # Copies of one site in a supercell start the same pairings.
        self.starts = starts[::n_cells] if of_first else starts
        self._averages: dict[bytes, _Average] = {}

    def result(self, *, best: bool) -> Pairing | None:
        maps = lattice_maps(
            self.repeated.lattice, self.target.lattice, self.n_cells, self.tolerances
        )
        found: Pairing | None = None
        for value, largest in self._pairings(maps, best=best):
            if found is None or value < found.rms:
                found = Pairing(value, largest)
                if (not best or value < _SAME) and value < self.tolerances.site:
                    return found
        return found if found is not None and found.rms < self.tolerances.site else None

    def _pairings(self, maps: LatticeMaps, *, best: bool) -> Iterator[tuple[float, float]]:
        from pymatgen.core.structure_matcher import StructureMatcher
        from pymatgen.util.coord_cython import is_coord_subset_pbc

        barred = self.barred.astype(np.int64)
        for index, starts in self._left(maps, in_order=best):
            one, other = self._coordinates(maps, index)
            average = self._average(maps.aligned[index], len(one))
            for start in starts:
                shifted = other + (one[start] - other[self.anchor])
                if not is_coord_subset_pbc(shifted, one, average.frac_tolerance, barred):
                    continue
                distances, _, _ = StructureMatcher._cart_dists(  # noqa: SLF001
                    one,
                    shifted,
                    average.lattice,
                    barred,
                    average.per_length,
                    average.reduced_frac_tolerance,
                )
                largest = float(max(distances))
                mean = float(np.linalg.norm(distances) / len(distances) ** 0.5)
                yield (mean if best else largest), largest

    def _coordinates(
        self, maps: LatticeMaps, index: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fractional coordinates of both cells on one lattice, as pymatgen computes them."""
        if self.n_cells == 1:
            moved = np.dot(self.repeated.cart, np.linalg.inv(maps.aligned[index]))
        else:
            from pymatgen.util.coord import lattice_points_in_supercell

            change = maps.changes[index]
            inner = np.dot(self.repeated.frac, np.linalg.inv(change))
            points = lattice_points_in_supercell(change)
            moved = (inner[:, None, :] + points[None, :, :]).reshape((-1, 3))
        moved = moved - np.floor(moved)
        return (moved, self.target.frac) if self.of_first else (self.target.frac, moved)

    def _average(self, aligned: NDArray[np.float64], n_sites: int) -> _Average:
        """The lattice between both; symmetry makes most of them the same to the last bit."""
        from pymatgen.core.lattice import Lattice

        parameters = (np.array(Lattice(aligned).parameters) + self.target.parameters) / 2
        key = parameters.tobytes()
        if key not in self._averages:
            self._averages[key] = _Average(parameters, n_sites, self.tolerances.site)
        return self._averages[key]

    def _left(self, maps: LatticeMaps, *, in_order: bool) -> Iterator[tuple[int, list[int]]]:
        """Lattices, and the translations on each, that the quick comparison does not rule out.

        In pymatgen's order, which decides among equal distances, or the most promising first, which
        finds a match at once where there is one.
        """
        if self.n_cells != 1:
            for index in range(len(maps)):
                yield index, self.starts.tolist()
            return
        size = max(1, len(self.starts) * self.barred.shape[1] * 3)
        step = max(1, _LARGEST_STEP // size)
        for begin in range(0, len(maps), step):
            chosen = maps.part(begin, begin + step)
            lattices, translations, strain = self._plausible(chosen, balls=not in_order)
            if in_order:
                for index in np.unique(lattices).tolist():
                    yield begin + index, self.starts[translations[lattices == index]].tolist()
                continue
            for place in np.argsort(strain, kind="stable").tolist():
                yield begin + int(lattices[place]), [int(self.starts[translations[place]])]

    def _plausible(
        self, maps: LatticeMaps, *, balls: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return lattices and translations whose sites lie near one another, and how near.

        (C,) each; nearness is the sum over sites of what the nearest one takes of its reach.

        With ``balls``, lattices go on which no largest distance can be within tolerance. Say that
        in a pairing every site is within R of its partner once their mean offset is taken out. Then
        any two offsets differ by less than 2 R, also that of the anchor; so from the translation
        that puts the anchor onto its partner, every site has one within 2 R. A lattice without such
        a translation has no such pairing from any.
        """
        moved_MN3 = self.repeated.frac @ np.linalg.inv(maps.changes.astype(np.float64))
        still_1N3 = self.target.frac[None]
        one, other = (moved_MN3, still_1N3) if self.of_first else (still_1N3, moved_MN3)
        limits = _Limits(
            maps.parameters, self.target.parameters, self.barred.shape[1], self.tolerances.site
        )
        reach_M3 = limits.reach_M3
        shift_MT3 = one[:, self.starts] - other[:, [self.anchor]]
        lattices, translations = (
            axis.ravel()
            for axis in np.meshgrid(
                np.arange(len(maps)), np.arange(len(self.starts)), indexing="ij"
            )
        )
        shift_C3, reach_C3 = shift_MT3.reshape(-1, 3), reach_M3[lattices]
        strain_C = np.zeros(len(lattices))
        within_C = np.ones(len(lattices), dtype=bool)
        partners = (~self.barred).sum(axis=1)
        for site in np.argsort(partners, kind="stable").tolist():
            if site == self.anchor:
                continue
            allowed = np.flatnonzero(~self.barred[site])
            ones = one[0, allowed][None] if len(one) == 1 else one[:, allowed][lattices]
            place = other[0, site][None] if len(other) == 1 else other[lattices, site]
            apart_CJ3 = (place + shift_C3)[:, None, :] - ones
            apart_CJ3 -= np.round(apart_CJ3)
            nearest = (np.abs(apart_CJ3) / reach_C3[:, None, :]).max(axis=-1).min(axis=-1)
            near = nearest <= 1
            if balls:
                within_C &= limits.within(lattices, apart_CJ3)
                near &= np.bincount(lattices[within_C], minlength=len(maps))[lattices] > 0
            lattices, translations = lattices[near], translations[near]
            shift_C3, reach_C3, within_C = shift_C3[near], reach_C3[near], within_C[near]
            strain_C = strain_C[near] + nearest[near]
            if not len(lattices):
                break
        return lattices, translations, strain_C


class _Average:
    """A lattice between two, and how far apart sites on it may be, in its coordinates."""

    def __init__(self, parameters: NDArray[np.float64], n_sites: int, site: float) -> None:
        from pymatgen.core.lattice import Lattice

        self.lattice = Lattice.from_parameters(*parameters)
        self.per_length = (n_sites / self.lattice.volume) ** (1 / 3)
        self._site = site
        self.frac_tolerance = self._tolerance(self.lattice)

    @cached_property
    def reduced_frac_tolerance(self) -> NDArray[np.float64]:
        return self._tolerance(self.lattice.get_lll_reduced_lattice())

    def _tolerance(self, lattice: Lattice) -> NDArray[np.float64]:
        reciprocal = np.array(lattice.reciprocal_lattice.abc)
        tolerance: NDArray[np.float64] = reciprocal * self._site / (np.pi * self.per_length)
        return tolerance


class _Limits:
    """How far sites may be apart on average lattices, a little more than that.

    Attributes:
        reach_M3: Upper limits in fractional coordinates; infinite where the average cell is so flat
            that rounding could matter.
    """

    def __init__(
        self,
        parameters_M6: NDArray[np.float64],
        target_6: NDArray[np.float64],
        n_sites: int,
        site: float,
    ) -> None:
        mean = (parameters_M6 + target_6) / 2
        lengths, angles = mean[:, :3], np.radians(mean[:, 3:])
        cosines = np.cos(angles)
        flatness_2 = 1 - (cosines**2).sum(axis=1) + 2 * cosines.prod(axis=1)
        sound = flatness_2 > 1e-8
        flatness = np.sqrt(np.where(sound, flatness_2, 1.0))
        volume = lengths.prod(axis=1) * flatness
        # The distance of lattice planes is V over the area of the cell's other two edges.
        spacing = lengths * flatness[:, None] / np.sin(angles)
        diameter = 2 * site * ((volume / n_sites) ** (1 / 3))
        self.reach_M3: NDArray[np.float64] = np.where(
            sound[:, None],
            diameter[:, None] / spacing * (1 + _SLACK) + _ABSOLUTE_SLACK,
            np.inf,
        )
        # In larger cells only one image of a site can be within reach: the one that rounding gives.
        narrow = np.less(self.reach_M3, 0.5)
        self._narrow: NDArray[np.bool_] = np.logical_and.reduce(narrow, axis=1)
        self._diameter_2 = (diameter * (1 + _SLACK) + _ABSOLUTE_SLACK) ** 2
        a, b, c = lengths.T
        off = 2 * np.stack([b * c, a * c, a * b], axis=1) * cosines
        self._metric_M6 = np.concatenate([lengths**2, off], axis=1)

    def within(
        self, lattices_C: NDArray[np.int64], apart_CJ3: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Return (C,) whether any of J offsets is within twice the site tolerance."""
        x, y, z = apart_CJ3[..., 0], apart_CJ3[..., 1], apart_CJ3[..., 2]
        metric = self._metric_M6[lattices_C][:, None, :]
        distance_2 = (
            x * (metric[..., 0] * x + metric[..., 5] * y)
            + y * (metric[..., 1] * y + metric[..., 3] * z)
            + z * (metric[..., 2] * z + metric[..., 4] * x)
        )
        near: NDArray[np.bool_] = (distance_2 <= self._diameter_2[lattices_C, None]).any(axis=1)
        return np.logical_or(near, ~self._narrow[lattices_C])
