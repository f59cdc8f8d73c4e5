"""What pw.x printed: whether it is whole, cell and sites, bands, magnetisation.

Axes: S spins, K k-points, B bands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen import Crystal
from matgen.elements import atomic_number
from matgen.errors import BadFile

RY_EV: Final = 13.605693122994
"""Rydberg energy, eV. Source: CODATA 2018."""
_NUMBER: Final = r"[-+]?\d+\.\d+(?:[eEdD][-+]?\d+)?"
_BLOCK: Final = re.compile(
    rf"k =\s*{_NUMBER}.*?bands \(ev\):\s*\n\s*\n((?:[\s\d.+*-]+\n)+)", re.IGNORECASE
)


@dataclass(frozen=True)
class PwOutput:
    """The text of an output.

    Attributes:
        text: All of it.
    """

    text: str

    @classmethod
    def read(cls, path: Path) -> PwOutput | None:
        """Return an output that came to its end, None where there is none or it was cut off.

        Raises:
            BadFile: it cannot be read.
        """
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadFile(f"cannot read {path}: {error.strerror}") from None
        found = cls(text)
        return found if "JOB DONE." in text or found.error else None

    @property
    def error(self) -> str:
        """The message with which pw.x stopped, empty if it did not."""
        match = re.search(r"%{20,}\s*\n\s*Error in routine (.*?)\n\s*%{20,}", self.text, re.DOTALL)
        return "" if match is None else " ".join(match.group(1).split())

    @property
    def unconverged(self) -> str:
        """What did not converge, empty if all did."""
        last = self.text.rfind("convergence has been achieved")
        if self.text.rfind("convergence NOT achieved") > last:
            return "the electrons did not converge"
        if "The maximum number of steps has been reached" in self.text:
            return "the cell did not relax within the steps"
        if "bfgs failed" in self.text or "history already reset" in self.text:
            return "the relaxation of the cell failed"
        return ""

    @property
    def electrons(self) -> float:
        """Number of electrons."""
        return self._last("number of electrons")

    @property
    def total_energy_ev(self) -> float:
        """Total energy of the cell, eV."""
        return self._last("!    total energy") * RY_EV

    @property
    def total_magnetisation(self) -> float:
        """Total magnetisation of the cell, μB."""
        return self._last("total magnetization")

    @property
    def absolute_magnetisation(self) -> float:
        """Integral of the magnitude of the magnetisation, μB."""
        return self._last("absolute magnetization")

    def relaxed(self) -> Crystal:
        """Return the last cell and sites.

        Raises:
            BadFile: they are not in the text.
        """
        final = self.text.rsplit("Begin final coordinates", 1)[-1].split("End final coordinates")[0]
        cell = re.search(rf"CELL_PARAMETERS \(angstrom\)\s*\n((?:\s*{_NUMBER}.*\n){{3}})", final)
        sites = re.search(
            rf"ATOMIC_POSITIONS \(crystal\)\s*\n((?:\s*[A-Z][a-z]?\s+{_NUMBER}.*\n)+)", final
        )
        if cell is None or sites is None:
            raise BadFile("the output has no final cell and sites")
        rows = [line.split() for line in sites.group(1).splitlines()]
        return Crystal(
            np.array([line.split()[:3] for line in cell.group(1).splitlines()], dtype=float),
            np.array([row[1:4] for row in rows], dtype=float),
            np.array([atomic_number(row[0]) for row in rows], dtype=np.int64),
        )

    def bands(self) -> NDArray[np.float64]:
        """Return (S, K, B) energies of the last bands printed, eV; S is 2 with spin.

        Raises:
            BadFile: none were printed, or not all.
        """
        text = self.text[self.text.rfind("End of") :]
        halves = re.split(r"-+ SPIN (?:UP|DOWN) -+", text)
        halves = halves[1:] if len(halves) == 3 else halves
        energies = []
        for half in halves:
            # Wide numbers touch each other: -10.1234-11.5678.
            rows = [re.findall(r"-?\d+\.\d{4}", block) for block in _BLOCK.findall(half)]
            energies.append(rows)
        if not energies[0] or len({len(row) for rows in energies for row in rows}) != 1:
            raise BadFile("the output has no bands, or not all; verbosity has to be high")
        return np.array(energies, dtype=float)

    def _last(self, title: str) -> float:
        """Return the last number that follows a title and an equals sign."""
        found = re.findall(rf"{re.escape(title)}\s*=\s*({_NUMBER})", self.text)
        if not found:
            raise BadFile(f"the output does not tell the {title}")
        return float(found[-1].replace("D", "E"))


@dataclass(frozen=True)
class Gap:
    """Band gap.

    Attributes:
        gap: Lowest empty less highest full level, eV; 0 for a metal.
        direct: The same at one k-point.
    """

    gap: float
    direct: float


def band_gap(bands_SKB: NDArray[np.float64], electrons: float, magnetisation: float) -> Gap:
    """Return the gap of bands filled from below.

    Both spins hold a whole number of electrons in an insulator; otherwise, or where bands overlap,
    there is no gap.

    Args:
        bands_SKB: eV; any number of k-points, one or two spins.
        electrons: In the cell.
        magnetisation: Of the cell, μB; more electrons in the first spin.
    """
    n_spins = bands_SKB.shape[0]
    filled = (
        [electrons / 2]
        if n_spins == 1
        else [(electrons + magnetisation) / 2, (electrons - magnetisation) / 2]
    )
    if any(abs(n - round(n)) > 0.02 for n in filled):
        return Gap(0.0, 0.0)
    full, empty = [], []
    for bands_KB, n in zip(bands_SKB, filled, strict=True):
        whole = round(n)
        if whole > 0:
            full.append(bands_KB[:, :whole].max(axis=1))
        if whole < bands_KB.shape[1]:
            empty.append(bands_KB[:, whole:].min(axis=1))
    if not full or not empty:
        raise BadFile("the bands hold no empty level; raise calculation.extra_bands")
    top, bottom = np.max(full, axis=0), np.min(empty, axis=0)
    gap = float(bottom.min() - top.max())
    if gap <= 0.0:
        return Gap(0.0, 0.0)
    return Gap(gap, float((bottom - top).min()))
