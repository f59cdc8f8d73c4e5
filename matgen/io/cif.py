"""Crystals in CIFs.

Reading is strict: every listed site becomes sites of the crystal or the block is refused. Symmetry
comes from the listed operations, else from the space group's name or number.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.cell import wrap
from matgen.crystal.periodic import wrapped
from matgen.elements import atomic_number
from matgen.errors import BadCrystal, BadFile, OutsideRange
from matgen.io.cif_symmetry import read_operations, tabulated_operations
from matgen.io.cif_syntax import Block, parse_blocks
from matgen.records import Crystal

SAME_SITE = 0.02
"""Images of one site nearer than this are one site on a special position, Å; CIFs with three
decimals miss it by 0.01 Å."""
FORMULA_TOLERANCE = 1e-3
"""Largest difference of an atomic fraction from the formula that the CIF states."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(\(\d+\))?")
_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_OPERATIONS = (
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
)
_GROUP_NAMES = (
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_hall",
    "_space_group_name_hall",
)
_GROUP_NUMBERS = ("_symmetry_int_tables_number", "_space_group_it_number")


def site_blocks(text: str) -> list[Block]:
    """Return the blocks of a CIF that list sites.

    Raises:
        BadFile: no CIF, cut short, or without any site.
    """
    blocks = [b for b in parse_blocks(text) if any(k.startswith("_atom_site_") for k in b.items)]
    if not blocks:
        raise BadFile("the CIF lists no atom sites")
    return blocks


def crystal_of(block: Block, *, max_sites: int) -> Crystal:
    """Return the crystal of a block.

    Raises:
        BadCrystal: anything that keeps a listed site from being one whole atom of one element.
        OutsideRange: it has more sites than ``max_sites``.
    """
    _check_size(len(block.get("_atom_site_fract_x") or ()), max_sites)
    lattice = _lattice(block)
    numbers, frac = _sites(block)
    rotations, shifts = _operations(block)
    if len(rotations) > 1:
        numbers, frac = _expanded(lattice, numbers, frac, rotations, shifts, max_sites)
    crystal = Crystal(lattice, frac, numbers)
    _check_formula(block, crystal)
    return crystal


def _check_size(n_sites: int, max_sites: int) -> None:
    if n_sites > max_sites:
        raise OutsideRange(f"the cell has {n_sites} sites or more; at most {max_sites} are read")


def _lattice(block: Block) -> NDArray[np.float64]:
    """Return the lattice with c along z and a in the plane of x and z."""
    values = []
    for part in _CELL:
        text = block.text(f"_cell_{part}", f"_cell.{part}")
        if text is None:
            raise BadCrystal(f"the CIF gives no _cell_{part}")
        values.append(_float(text, f"_cell_{part}"))
    a, b, c = values[:3]
    alpha, beta, gamma = (math.radians(angle) for angle in values[3:])
    across = math.sin(alpha) * math.sin(beta)
    cosine = math.inf
    if across != 0.0:
        cosine = (math.cos(alpha) * math.cos(beta) - math.cos(gamma)) / across
    if not abs(cosine) <= 1.0 or min(values) <= 0.0:
        raise BadCrystal(f"cell parameters {values} make no cell")
    gamma_star = math.acos(cosine)
    return np.array(
        [
            [a * math.sin(beta), 0.0, a * math.cos(beta)],
            [
                -b * math.sin(alpha) * math.cos(gamma_star),
                b * math.sin(alpha) * math.sin(gamma_star),
                b * math.cos(alpha),
            ],
            [0.0, 0.0, c],
        ]
    )


def _sites(block: Block) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    labels = block.get("_atom_site_type_symbol", "_atom_site_label")
    columns = [block.get(f"_atom_site_fract_{axis}") for axis in "xyz"]
    if labels is None or None in columns:
        raise BadCrystal("the CIF gives no elements or no fractional coordinates of its sites")
    occupancies = block.get("_atom_site_occupancy") or ["1"] * len(labels)
    for label, occupancy in dict.fromkeys(zip(labels, occupancies, strict=True)):
        filled = 1.0 if occupancy in ("?", ".") else _float(occupancy, "_atom_site_occupancy")
        if abs(filled - 1.0) > 1e-6:
            raise BadCrystal(
                f"site {label} is occupied {occupancy}; only fully occupied sites with one "
                "element each can be represented"
            )
    elements = {label: _element(label) for label in set(labels)}
    numbers = np.array([elements[label] for label in labels], dtype=np.int64)
    frac = np.array(
        [[_float(text, "_atom_site_fract") for text in column or ()] for column in columns]
    ).T
    return numbers, np.ascontiguousarray(frac, dtype=np.float64)


def _element(label: str) -> int:
    """Return the element of a type symbol or site label: Fe3+, O1A, Na."""
    match = re.match(r"[A-Za-z]{1,2}", label)
    if match is None:
        raise BadCrystal(f"site {label!r} names no element")
    letters = match.group().capitalize()
    try:
        return atomic_number(letters)
    except BadCrystal as error:
        # A label such as OW or HB is an element and a letter of the author's; D and T stay refused.
        if len(letters) == 2 and letters[0] not in "DT":
            try:
                return atomic_number(letters[0])
            except BadCrystal:
                pass
        raise BadCrystal(f"site {label!r}: {error}") from None


def _float(text: str, item: str) -> float:
    """Return a CIF number, its uncertainty in parentheses left off."""
    if not _NUMBER.fullmatch(text):
        raise BadCrystal(f"{item} is {text!r}; expected a number")
    return float(text.partition("(")[0])


def _operations(block: Block) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (G, 3, 3) rotations and (G, 3) translations."""
    if any(name.startswith("_space_group_symop_magn") for name in block.items):
        raise BadCrystal("it is a magnetic CIF; only structures without moments are read")
    listed = block.get(*_OPERATIONS)
    if listed is not None:
        return read_operations(tuple(listed))
    name, number = block.text(*_GROUP_NAMES), block.text(*_GROUP_NUMBERS)
    if name is None and number is None:
        return np.eye(3)[None], np.zeros((1, 3))
    return tabulated_operations(name or "", number or "")


def _expanded(
    lattice: NDArray[np.float64],
    numbers: NDArray[np.int64],
    frac: NDArray[np.float64],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    max_sites: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return all sites, images of one site that fall together counted once."""
    all_frac: list[NDArray[np.float64]] = []
    counts: list[int] = []
    for site in frac:
        images = wrap(rotations @ site + shifts)
        kept = []
        left = images
        while len(left):
            # An image is kept unless one before it is at the same place.
            kept.append(left[0])
            cartesian = wrapped(left - left[0]) @ lattice
            near = np.einsum("ix,ix->i", cartesian, cartesian) < SAME_SITE**2
            if len(left) == len(images) and near.sum() == 1:
                # Nothing maps this site onto itself, so nothing maps its images onto each other.
                kept = [images]
                break
            left = left[~near]
        all_frac.append(np.reshape(kept, (-1, 3)))
        counts.append(len(all_frac[-1]))
        _check_size(sum(counts), max_sites)
    return np.repeat(numbers, counts), np.concatenate(all_frac)


def _check_formula(block: Block, crystal: Crystal) -> None:
    """Refuse sites that are not what the CIF says they add up to: cut off, or hydrogens missing."""
    stated = block.text("_chemical_formula_sum")
    wanted = None if stated is None else _fractions(stated)
    if wanted is None:
        return
    counts = Counter(crystal.numbers.tolist())
    if any(
        abs(counts[z] / crystal.n_sites - wanted.get(z, 0.0)) > FORMULA_TOLERANCE
        for z in {*counts, *wanted}
    ):
        raise BadCrystal(
            f"its sites do not add up to its formula {stated!r}; the CIF may be truncated or lack "
            "sites"
        )


@lru_cache(maxsize=4096)
def _fractions(formula: str) -> Mapping[int, float] | None:
    """Return the share of each element in a formula as CIFs spell it; None if it is none."""
    parts = re.findall(r"([A-Z][a-z]?)\s*([\d.]*)", formula)
    try:
        wanted = {atomic_number(symbol): float(count or 1) for symbol, count in parts}
    except (BadCrystal, ValueError):
        return None
    total = sum(wanted.values())
    return {z: count / total for z, count in wanted.items()} if total > 0 else None
