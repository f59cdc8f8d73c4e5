"""Crystals in CIFs.

Reading is strict: every listed site becomes sites of the crystal or the block is refused. Symmetry
comes from the listed operations, else from the space group's name or number.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.cell import wrap
from matgen.crystal.composition import reduced_counts
from matgen.crystal.periodic import wrapped
from matgen.elements import atomic_number
from matgen.errors import BadCrystal, BadFile
from matgen.io.cif_syntax import Block, parse_blocks
from matgen.records import Crystal

if TYPE_CHECKING:
    from pymatgen.core.operations import SymmOp

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


def crystal_of(block: Block) -> Crystal:
    """Return the crystal of a block.

    Raises:
        BadCrystal: anything that keeps a listed site from being one whole atom of one element.
    """
    lattice = _lattice(block)
    numbers, frac = _sites(block)
    rotations, shifts = _operations(block)
    if len(rotations) > 1:
        numbers, frac = _expanded(lattice, numbers, frac, rotations, shifts)
    crystal = Crystal(lattice, frac, numbers)
    _check_formula(block, crystal)
    return crystal


def _lattice(block: Block) -> NDArray[np.float64]:
    from pymatgen.core.lattice import Lattice

    values = []
    for part in _CELL:
        text = block.text(f"_cell_{part}", f"_cell.{part}")
        if text is None:
            raise BadCrystal(f"the CIF gives no _cell_{part}")
        values.append(_float(text, f"_cell_{part}"))
    try:
        return np.array(Lattice.from_parameters(*values).matrix, dtype=np.float64)
    except ValueError as error:
        raise BadCrystal(f"cell parameters {values} make no cell: {error}") from None


def _sites(block: Block) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    labels = block.get("_atom_site_type_symbol", "_atom_site_label")
    columns = [block.get(f"_atom_site_fract_{axis}") for axis in "xyz"]
    if labels is None or None in columns:
        raise BadCrystal("the CIF gives no elements or no fractional coordinates of its sites")
    occupancies = block.get("_atom_site_occupancy") or ["1"] * len(labels)
    for label, occupancy in zip(labels, occupancies, strict=True):
        filled = 1.0 if occupancy in ("?", ".") else _float(occupancy, "_atom_site_occupancy")
        if abs(filled - 1.0) > 1e-6:
            raise BadCrystal(
                f"site {label} is occupied {occupancy}; only fully occupied sites with one "
                "element each can be represented"
            )
    numbers = np.array([_element(label) for label in labels], dtype=np.int64)
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
    from pymatgen.core.operations import SymmOp

    if any(name.startswith("_space_group_symop_magn") for name in block.items):
        raise BadCrystal("it is a magnetic CIF; only structures without moments are read")
    listed = block.get(*_OPERATIONS)
    if listed is None:
        found = _tabulated(block)
    else:
        try:
            found = [SymmOp.from_xyz_str(text) for text in listed]
        except (ValueError, IndexError, ZeroDivisionError):
            raise BadCrystal("its symmetry operations cannot be read") from None
    matrices = np.array([operation.affine_matrix for operation in found])
    return matrices[:, :3, :3], matrices[:, :3, 3]


def _tabulated(block: Block) -> list[SymmOp]:
    """Return the operations of the space group that the block names; P1 where it names none."""
    from pymatgen.core.operations import SymmOp
    from pymatgen.symmetry.groups import SpaceGroup

    name, number = block.text(*_GROUP_NAMES), block.text(*_GROUP_NUMBERS)
    if name is None and number is None:
        return [SymmOp.from_xyz_str("x, y, z")]
    try:
        # The name first, and alone: a number cannot tell one setting of a group from another.
        if name is not None:
            return list(SpaceGroup(name.replace(" ", "")).symmetry_ops)
        return list(SpaceGroup.from_int_number(int(number or 0)).symmetry_ops)
    except (ValueError, KeyError):
        raise BadCrystal(
            f"its space group {name or number!r} is unknown and it lists no operations"
        ) from None


def _expanded(
    lattice: NDArray[np.float64],
    numbers: NDArray[np.int64],
    frac: NDArray[np.float64],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return all sites, images of one site that fall together counted once."""
    all_numbers, all_frac = [], []
    for number, site in zip(numbers, frac, strict=True):
        images = wrap(rotations @ site + shifts)
        cartesian = wrapped(images[:, None] - images[None]) @ lattice
        near = (cartesian**2).sum(axis=-1) < SAME_SITE**2
        # An image is kept unless one before it is at the same place.
        kept = images[near.argmax(axis=1) == np.arange(len(images))]
        all_numbers += [number] * len(kept)
        all_frac.append(kept)
    return np.array(all_numbers, dtype=np.int64), np.concatenate(all_frac)


def _check_formula(block: Block, crystal: Crystal) -> None:
    """Refuse sites that are not what the CIF says they add up to: cut off, or hydrogens missing."""
    stated = block.text("_chemical_formula_sum")
    if stated is None:
        return
    parts = re.findall(r"([A-Z][a-z]?)\s*([\d.]*)", stated)
    try:
        wanted = {atomic_number(symbol): float(count or 1) for symbol, count in parts}
    except (BadCrystal, ValueError):
        return
    elements, counts = reduced_counts(crystal.numbers)
    found = dict(zip(elements.tolist(), (counts / counts.sum()).tolist(), strict=True))
    total = sum(wanted.values())
    if any(
        abs(found.get(z, 0.0) - wanted.get(z, 0.0) / total) > FORMULA_TOLERANCE
        for z in {*found, *wanted}
    ):
        raise BadCrystal(
            f"its sites do not add up to its formula {stated!r}; the CIF may be truncated or lack "
            "sites"
        )
