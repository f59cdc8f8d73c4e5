"""Crystals in POSCAR files, read strictly: other readers call unnamed elements H, He, Li."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matgen.elements import atomic_number
from matgen.errors import BadCrystal, BadFile, OutsideRange
from matgen.records import Crystal


def read_poscar(text: str, *, max_sites: int) -> Crystal:
    """Return the crystal of a VASP 5 or 6 POSCAR, direct or Cartesian.

    Raises:
        BadCrystal: it names no elements, or unknown ones.
        BadFile: no POSCAR, or cut short.
        OutsideRange: it has more sites than ``max_sites``.
    """
    lines = text.splitlines()
    if len(lines) < 8:
        raise BadFile(f"a POSCAR of {len(lines)} lines; expected at least 8, it may be truncated")
    lattice = _scaled(np.array([_floats(line, 3) for line in lines[2:5]]), lines[1])
    names = lines[5].split()
    if not names or names[0].isdigit():
        raise BadCrystal(
            "the POSCAR names no elements (VASP 4); write their symbols on the line before the "
            "counts"
        )
    counts = lines[6].split()
    if len(counts) != len(names) or not all(count.isdigit() for count in counts):
        raise BadFile(f"the POSCAR has counts {lines[6].strip()!r} for {lines[5].strip()!r}")
    n_sites = sum(int(count) for count in counts)
    if n_sites > max_sites:
        raise OutsideRange(f"the cell has {n_sites} sites; at most {max_sites} are read")
    # VASP 6 appends the potential: Mg_pv/f474ac0d.
    kinds = [atomic_number(name.split("/")[0].split("_")[0]) for name in names]
    numbers = np.repeat(kinds, [int(count) for count in counts]).astype(np.int64)
    first = 8 if lines[7].strip()[:1].lower() == "s" else 7
    rows = lines[first + 1 : first + 1 + len(numbers)]
    if len(rows) < len(numbers):
        raise BadFile(f"the POSCAR lists {len(rows)} of {len(numbers)} sites; it is truncated")
    sites = np.array([_floats(row, 3) for row in rows]).reshape(-1, 3)
    mode = lines[first].strip()[:1].lower()
    if mode not in tuple("cdk"):
        raise BadFile(f"the POSCAR says {lines[first].strip()!r}; expected Direct or Cartesian")
    if mode == "d":
        return Crystal(lattice, sites, numbers)
    if abs(np.linalg.det(lattice)) == 0.0:
        raise BadCrystal("the lattice vectors span no volume")
    return Crystal(lattice, _scaled(sites, lines[1], lattice) @ np.linalg.inv(lattice), numbers)


def _scaled(
    vectors: NDArray[np.float64], line: str, lattice: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return vectors times the scale of line 2; a negative one is the volume wanted, Å³."""
    scales = np.array(_floats(line, len(line.split()) or 1))
    if len(scales) not in (1, 3) or not scales.all():
        raise BadFile(f"the POSCAR has the scale {line.strip()!r}; expected one or three numbers")
    if len(scales) == 1 and scales[0] < 0 and lattice is not None:
        raise BadCrystal("Cartesian sites under a scale that is a volume are ambiguous; use Direct")
    if len(scales) == 1 and scales[0] < 0:
        volume = abs(float(np.linalg.det(vectors)))
        if volume == 0.0:
            raise BadCrystal("the lattice vectors span no volume")
        scales = np.array([(-scales[0] / volume) ** (1.0 / 3.0)])
    scaled: NDArray[np.float64] = vectors * scales
    return scaled


def _floats(line: str, n: int) -> list[float]:
    try:
        values = [float(word) for word in line.split()[:n]]
    except ValueError:
        values = []
    if len(values) < n:
        raise BadFile(f"the POSCAR has {line.strip()!r} where {n} numbers are expected")
    return values
