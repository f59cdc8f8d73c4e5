"""Scalar conditions of the paper, three more, and any numeric column of the user's own data.

Source: Materium, arXiv:2512.07486: log(x + 10⁻³) for band gap and magnetic density, HHI / 1000.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from matgen import Condition, Crystal, ScalarCondition
from matgen.crystal.composition import parse_formula
from matgen.crystal.properties import density, hhi
from matgen.elements import masses
from matgen.errors import BadOptions
from matgen.units import GRAM_PER_CM3_PER_DALTON_PER_ANGSTROM3

if TYPE_CHECKING:
    from torch import nn

    from matgen.records import PropertyValue

_SAME_DENSITY = 0.02
"""Relative difference up to which densities are one: cells are rounded to the points of a grid."""
_PAPER = ("Materium, arXiv:2512.07486",)


class Density(ScalarCondition):
    """Mass density, computed from the crystal."""

    name = "density"
    unit = "g/cm3"
    minimum = 0.01
    maximum = 30.0
    cites = _PAPER

    def conflict(self, value: PropertyValue, others: Mapping[str, PropertyValue]) -> str:
        """Compare with what a cell of given volume and formula weighs."""
        volume, formula = others.get("volume_ang3"), others.get("reduced_formula")
        if volume is None or formula is None or not float(volume):
            return ""
        counts = parse_formula(str(formula))
        mass = sum(count * float(masses[number]) for number, count in counts.items())
        of_one = mass / float(volume) * GRAM_PER_CM3_PER_DALTON_PER_ANGSTROM3
        n_sites = others.get("n_sites")
        # Multiples of the formula; without a number of sites the nearest one may be meant.
        n = max(1, round(float(value) / of_one))
        if n_sites is not None:
            n = round(float(n_sites) / sum(counts.values()))
        if abs(n * of_one - float(value)) <= _SAME_DENSITY * float(value):
            return ""
        return (
            f"{n} {formula} in a cell of {float(volume):.1f} Å3 have {n * of_one:.3g} g/cm3, not "
            f"{float(value):g}"
        )

    def achieved(self, crystal: Crystal) -> float:
        """Return the density of the crystal, g/cm³."""
        return density(crystal)


class BandGap(ScalarCondition):
    """Band gap (PBE in the shipped set)."""

    name = "band_gap"
    unit = "eV"
    column = "band_gap"
    minimum = 0.0
    maximum = 30.0
    cites = _PAPER

    softening: float = Field(default=1e-3, gt=0)
    """Added before the logarithm, eV; metals have gap 0 exactly."""

    def feature(self, value: Any) -> float:  # the role's signature; eV here
        """Return log(gap + softening)."""
        return math.log(value + self.softening)


class MagneticDensity(ScalarCondition):
    """Total magnetic moment per volume."""

    name = "magnetic_density"
    unit = "muB/A3"
    column = "magnetic_density"
    minimum = 0.0
    maximum = 1.0
    cites = _PAPER

    softening: float = Field(default=1e-3, gt=0)
    """Added before the logarithm, μB/Å³."""

    def feature(self, value: Any) -> float:  # the role's signature; μB/Å³ here
        """Return log(density + softening)."""
        return math.log(value + self.softening)


class Hhi(ScalarCondition):
    """Herfindahl–Hirschman index of the elements' supply, in thousands (0 to 10).

    Source: Gaultois et al., Chem. Mater. 25, 2911 (2013), weighted by mass fraction.
    """

    name = "hhi"
    unit = "thousands"
    minimum = 0.0
    maximum = 10.0
    cites = (*_PAPER, "Gaultois et al., Chem. Mater. 25, 2911 (2013)")

    table: Literal["production", "reserve"] = "production"
    """Market shares of today's production, or of known reserves."""

    def parse(self, text: str) -> PropertyValue:
        """Return the index in thousands; a number on the 0 to 10,000 scale gets told so."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if self.maximum < value <= 1000 * self.maximum:
            raise BadOptions(
                f"hhi={text} looks like the 0 to 10,000 scale; hhi is given in thousands: "
                f"hhi={value / 1000:g}"
            )
        return super().parse(text)

    def achieved(self, crystal: Crystal) -> float | None:
        """Return the index of the crystal in thousands; None with an element that has none."""
        index = hhi(crystal, self.table)
        return None if index is None else index / 1000.0


class EnergyAboveHull(ScalarCondition):
    """Energy above the convex hull of the training reference."""

    name = "energy_above_hull"
    unit = "eV/atom"
    column = "energy_above_hull"
    minimum = 0.0
    maximum = 10.0

    softening: float = Field(default=0.01, gt=0)
    """Added before the logarithm, eV/atom; resolves the range 0 to 0.1 best."""

    def feature(self, value: Any) -> float:  # the role's signature; eV/atom here
        """Return log(energy + softening); slightly negative labels count as on the hull."""
        return math.log(max(value, 0.0) + self.softening)


class NSites(ScalarCondition):
    """Number of sites in the primitive cell."""

    name = "n_sites"
    unit = "sites"
    minimum = 1
    maximum = 1000

    def parse(self, text: str) -> PropertyValue:
        """Return a whole number."""
        value = super().parse(text)
        if not float(value).is_integer():
            raise BadOptions(f"n_sites={text} is not a whole number")
        return value

    def between(self, low: PropertyValue, high: PropertyValue, uniform: float) -> PropertyValue:
        """Return one of the whole numbers from ``low`` to ``high``, all alike."""
        return _whole_between(low, high, uniform)

    def feature(self, value: Any) -> float:  # the role's signature; a count here
        """Return a tenth of the number, near one for usual cells."""
        return float(value) / 10.0

    def achieved(self, crystal: Crystal) -> float:
        """Return the number of sites."""
        return float(crystal.n_sites)


class SpaceGroup(Condition):
    """International space-group number, 1 to 230; measured at symprec 0.01 in the shipped set."""

    name = "space_group"
    unit = "number"
    column = "space_group"
    cites = _PAPER

    def parse(self, text: str) -> PropertyValue:
        """Return the number."""
        if not text.isdecimal() or not 1 <= int(text) <= 230:
            raise BadOptions(f"space_group={text} is no space-group number; give 1 to 230")
        return float(text)

    def between(self, low: PropertyValue, high: PropertyValue, uniform: float) -> PropertyValue:
        """Return one of the whole numbers from ``low`` to ``high``, all alike."""
        return _whole_between(low, high, uniform)

    def feature(self, value: Any) -> float:  # the role's signature; a number here
        """Return the number, which picks an embedding."""
        return float(value)

    def encoder(self, width: int) -> nn.Module:
        """Return one learned vector per space group."""
        from matgen_materium.encoders import SpaceGroupEncoder

        return SpaceGroupEncoder(width)

    def error(self, requested: PropertyValue, achieved: PropertyValue) -> float:
        """Return 0 for the same group, 1 for another; numbers are names here."""
        return float(requested != achieved)


class Column(ScalarCondition):
    """Any numeric column of the data, standardised over the training rows."""

    name = "column"
    unit = ""

    title: str
    """Name of the column, and what users write before the ``=``."""
    measure: str
    """Unit of the column's values; "1" where it has none."""
    centre: float = 0.0
    """Subtracted first; filled in from the training rows."""
    scale: float = Field(default=1.0, gt=0)
    """Divided by then; filled in from the training rows."""

    @property
    def label(self) -> str:
        """The column's name."""
        return self.title

    @property
    def reads(self) -> str:
        """The column's name."""
        return self.title

    @property
    def measured_in(self) -> str:
        """The unit given."""
        return self.measure

    def feature(self, value: Any) -> float:  # the role's signature; a number here
        """Return the standardised value."""
        return float((value - self.centre) / self.scale)

    def fitted(self, values: Iterable[PropertyValue]) -> Column:
        """Return the condition with mean and standard deviation of the training values."""
        missing = {"centre", "scale"} - self.model_fields_set
        if not missing:
            return self
        numbers = np.fromiter((float(value) for value in values), dtype=np.float64)
        if not len(numbers):
            raise BadOptions(f"no training row has a value for {self.title!r}")
        measured = {"centre": float(numbers.mean()), "scale": float(numbers.std()) or 1.0}
        return self.model_copy(update={name: measured[name] for name in missing})


def _whole_between(low: PropertyValue, high: PropertyValue, uniform: float) -> float:
    n = int(high) - int(low) + 1
    return float(int(low) + int(uniform * n))
