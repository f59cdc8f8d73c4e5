"""The one owner of quantisation, both ways.

Points lie *on* special positions: with n a multiple of 24 the fractions 0, 1/2, 1/3, 1/4, 1/6 and
1/8 are exact, one grid serves all three lengths so that equal lengths share a token, and 60, 90
and 120 degrees are points.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from matgen.errors import BadOptions, OutsideRange

MAX_POINTS = 20_000
"""Longest grid: 400 Å at the default step. Each point is a token."""
PARAMETERS = ("a", "b", "c", "alpha", "beta", "gamma")


class Grid(BaseModel):
    """Evenly spaced points of one lattice parameter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lowest: float
    """Value of bin 0, Å or degrees."""
    step: float = Field(gt=0)
    """Distance between neighbouring points."""
    n: int = Field(gt=1)
    """Number of points."""

    @property
    def highest(self) -> float:
        """Value of the last bin."""
        return self.lowest + self.step * (self.n - 1)


class Bins(BaseModel):
    """Points of fractional coordinates and of the six lattice parameters; one set of tokens.

    Coordinates are periodic: bin k is k / ``n_coordinate``, values are rounded to the nearest
    point and n wraps to 0, so the error is at most 1/(2n) and quantising twice changes nothing.

    Source: Materium, arXiv:2512.07486, tokenisation: 1024 bins shared by coordinates and lattice.
    Deviates: points on k/n instead of bin centres, 1152 of them, and one length grid to 25 Å for
    a, b and c: 94 % of real crystals keep their space group at symprec 0.01, with the paper's
    counts and ranges (``paper()``) 71 %; ``benchmarks/bins.py`` measures both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_coordinate: int = Field(default=1152, gt=1)
    """Points per fractional coordinate."""
    lattice: tuple[Grid, Grid, Grid, Grid, Grid, Grid] = (
        Grid(lowest=2.0, step=0.02, n=1152),
        Grid(lowest=2.0, step=0.02, n=1152),
        Grid(lowest=2.0, step=0.02, n=1152),
        Grid(lowest=60.0, step=0.06, n=1001),
        Grid(lowest=60.0, step=0.06, n=1001),
        Grid(lowest=60.0, step=0.06, n=1001),
    )
    """Points of a, b, c (Å) and alpha, beta, gamma (degrees)."""
    outside: Literal["drop", "clip"] = "drop"
    """What becomes of a crystal whose lattice leaves the grid: refused, or moved to its edge."""

    @model_validator(mode="after")
    def _angles_make_cells(self) -> Bins:
        for name, grid in zip(PARAMETERS[3:], self.lattice[3:], strict=True):
            if grid.lowest <= 0 or grid.highest >= 180:
                raise ValueError(f"{name} must stay between 0 and 180 degrees")
        if any(grid.lowest <= 0 for grid in self.lattice[:3]):
            raise ValueError("lengths must be positive")
        return self

    @classmethod
    def paper(cls) -> Bins:
        """Return the paper's 1024 bins and ranges (a to 10, b to 12.5, c to 20 Å).

        The points of coordinates stay at k/1024: its bin centres are a bias, not a choice.
        """
        highest = (10.0, 12.5, 20.0)
        lengths = [Grid(lowest=2.0, step=(h - 2.0) / 1023, n=1024) for h in highest]
        angles = [Grid(lowest=60.0, step=60.0 / 1023, n=1024)] * 3
        return cls(n_coordinate=1024, lattice=(*lengths, *angles))

    @property
    def scales(self) -> tuple[tuple[str, float, float, int], ...]:
        """What bins mean, as a vocabulary tells it."""
        n = self.n_coordinate
        units = ("ang", "ang", "ang", "deg", "deg", "deg")
        return (
            ("fractional_coordinate", 0.0, 1.0 / n, n),
            *(
                (f"{name}_{unit}", grid.lowest, grid.step, grid.n)
                for name, unit, grid in zip(PARAMETERS, units, self.lattice, strict=True)
            ),
        )

    @property
    def n_tokens(self) -> int:
        """Size of the shared token set."""
        return max(self.n_coordinate, *(grid.n for grid in self.lattice))

    def quantise_frac(self, frac: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the bins of fractional coordinates, any shape, any real."""
        return np.rint(frac * self.n_coordinate).astype(np.int64) % self.n_coordinate

    def frac(self, bins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the fractional coordinates of bins, in [0, 1)."""
        return bins / self.n_coordinate

    def lattice_bins(
        self, parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the (…, 6) bins of a, b, c, alpha, beta, gamma, and which lie on their grids.

        A parameter lies on its grid up to half a step beyond its ends, or anywhere if clipping.
        Bins of others are the nearest end.
        """
        lowest, step, last = self._columns()
        bins = np.rint((parameters - lowest) / step).astype(np.int64)
        inside = (bins >= 0) & (bins <= last)
        if self.outside == "clip":
            inside = np.ones_like(inside)
        return np.clip(bins, 0, last), inside

    def outside_range(
        self, parameters: NDArray[np.float64], inside: NDArray[np.bool_]
    ) -> OutsideRange:
        """Return what is wrong with (6,) parameters that are not all inside."""
        worst = int(np.argmin(inside))
        grid = self.lattice[worst]
        return OutsideRange(
            f"{PARAMETERS[worst]} = {parameters[worst]:.3f} is outside the grid "
            f"{grid.lowest:g} to {grid.highest:g}"
        )

    def over(self, lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> Bins:
        """Return bins whose lattice grids just hold these (6,) ranges.

        One grid serves the three lengths, another the three angles; steps stay as they are.

        Raises:
            BadOptions: a range that no sensible number of points covers.
        """
        grids = []
        for i, grid in enumerate(self.lattice):
            # Lengths share a grid, so that equal ones share a token; likewise the angles.
            same = slice(0, 3) if i < 3 else slice(3, 6)
            first = np.floor((lowest[same].min() - grid.lowest) / grid.step)
            last = np.ceil((highest[same].max() - grid.lowest) / grid.step)
            if last - first >= MAX_POINTS:
                raise BadOptions(
                    f"crystals with {PARAMETERS[i]} from {lowest[same].min():.4g} to "
                    f"{highest[same].max():.4g} need {last - first:.0f} bins of {grid.step:g}; at "
                    f"most {MAX_POINTS} make sense: leave such crystals out, or give "
                    "representation.bins a larger step"
                )
            start = round(float(grid.lowest + grid.step * first), 9)
            grids.append(Grid(lowest=start, step=grid.step, n=int(max(last - first, 1)) + 1))
        return Bins(n_coordinate=self.n_coordinate, lattice=tuple(grids), outside=self.outside)

    @property
    def n_lattice(self) -> NDArray[np.int64]:
        """(6,) number of points of each lattice parameter."""
        return np.array([grid.n for grid in self.lattice], dtype=np.int64)

    def parameters(self, bins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the (…, 6) lattice parameters of (…, 6) bins."""
        lowest, step, _ = self._columns()
        return lowest + step * bins

    def _columns(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        return (
            np.array([grid.lowest for grid in self.lattice]),
            np.array([grid.step for grid in self.lattice]),
            np.array([grid.n - 1 for grid in self.lattice], dtype=np.int64),
        )


def named_bins(value: object) -> object:
    """Return ``Bins.paper()`` for the text ``paper``, anything else as it is."""
    return Bins.paper() if value == "paper" else value
