"""Density functional theory: Quantum ESPRESSO as in the Materium paper, VASP, atomate2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen import Calculation


@hookimpl
def matgen_calculations() -> list[type[Calculation]]:
    from matgen_dft.atomate2 import Atomate2
    from matgen_dft.espresso import BandGap, MagneticDensity
    from matgen_dft.vasp import Vasp

    return [BandGap, MagneticDensity, Vasp, Atomate2]
