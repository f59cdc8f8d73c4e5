"""Stability and packing: write the anions first, and ask for a volume per site."""

import numpy as np

from matgen import ScalarCondition, SortedOrdering, elements, hookimpl


class AnionsFirst(SortedOrdering):
    """Most electronegative element first; ties by Z, then position."""

    name = "anions_first"

    def keys(self, crystal):
        x = elements.electronegativity[crystal.numbers]  # Pauling; NaN where none
        return (-np.nan_to_num(x, nan=0.0), crystal.numbers, *crystal.frac.T)


class VolumePerSite(ScalarCondition):
    """Cell volume per site."""

    name = "volume_per_site"
    unit = "A3"
    minimum = 1.0

    def achieved(self, crystal):
        return crystal.volume / crystal.n_sites


@hookimpl
def matgen_orderings():
    return [AnionsFirst]


@hookimpl
def matgen_conditions():
    return [VolumePerSite]
