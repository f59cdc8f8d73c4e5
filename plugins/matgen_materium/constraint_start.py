"""Rule: a partial structure that every sample completes.

Axes: V vocabulary, K given sites.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from matgen import Constraint, elements
from matgen.errors import BadOptions
from matgen_materium.cells import cell_volume, lattice_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from matgen import Crystal, Grammar, Representation
    from matgen_materium.atoms import Atoms

_PARTS: Final = ("atoms", "cell")


class Start(Constraint):
    """Every crystal begins with these sites, in this order, and has this cell; the rest is free.

    At least one of sites and cell is given.
    """

    name = "start"

    numbers: tuple[int, ...] = ()
    """Atomic number of each given site."""
    frac: tuple[tuple[float, float, float], ...] = ()
    """Fractional coordinates of each given site."""
    states: tuple[int, ...] = ()
    """Oxidation state of each given site; empty: any that the element has."""
    cell: tuple[float, ...] = ()
    """a, b, c in Å and alpha, beta, gamma in degrees; empty: the cell is free."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        n = len(self.numbers)
        if len(self.frac) != n or len(self.states) not in {0, n} or len(self.cell) not in {0, 6}:
            raise BadOptions(
                f"{self.name}: {n} atomic numbers, {len(self.frac)} positions, {len(self.states)} "
                f"states and {len(self.cell)} cell parameters do not fit together; give one "
                "position per site, one state per site or none, and six cell parameters or none"
            )
        if not n and not self.cell:
            raise BadOptions(f"{self.name}: neither sites nor a cell; give one of them, or both")
        if (
            not np.isfinite([*np.ravel(self.frac), *self.cell]).all()
            or min(self.cell, default=1) <= 0
        ):
            raise BadOptions(f"{self.name}: positions and cell must be finite, cells positive")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for FILE, FILE:atoms (the cell is free) or FILE:cell (no sites given).

        Raises:
            BadOptions: no such file, not exactly one crystal in it, or another part of it.
        """
        from matgen_materium.constraint_phases import only_crystal

        text = text.strip()
        path, parts = text, set(_PARTS)
        head, colon, tail = text.rpartition(":")
        if colon and not Path(text).exists():  # a file's own name may hold a colon
            path, parts = head, {tail}
            if tail not in _PARTS:
                raise BadOptions(
                    f"{cls.name}: {tail!r} is no part of a structure and {text!r} no file; write "
                    "FILE, FILE:atoms or FILE:cell"
                )
        if not path or not Path(path).exists():
            raise BadOptions(
                f"{cls.name}: there is no file {path!r}; write the name of a structure file, and "
                ":atoms or :cell behind it to take only these"
            )
        return cls.of(only_crystal(path, cls.name), atoms="atoms" in parts, cell="cell" in parts)

    @classmethod
    def of(cls, crystal: Crystal, *, atoms: bool = True, cell: bool = True) -> Self:
        """Return the rule to complete a crystal: its sites, its cell, or both.

        A left-handed cell is turned round, for cells are written right-handed.
        """
        turned = -1.0 if np.linalg.det(crystal.lattice) < 0 else 1.0
        parameters = lattice_parameters(crystal.lattice).tolist() if cell else []
        if not atoms:
            return cls(cell=tuple(parameters))
        states = [] if crystal.oxidation is None else crystal.oxidation.tolist()
        return cls(
            numbers=tuple(crystal.numbers.tolist()),
            frac=tuple((x, y, z) for x, y, z in (turned * crystal.frac).tolist()),
            states=tuple(states),
            cell=tuple(parameters),
        )

    @property
    def fixes(self) -> Mapping[str, float]:
        """The volume of the cell, where it is given."""
        return {"volume_ang3": cell_volume(self.cell)} if self.cell else {}

    def join(self, other: Constraint) -> Constraint | None:
        """Return the same rule where the other one is equal; two starts contradict each other.

        Raises:
            BadOptions: two different starts.
        """
        if not isinstance(other, Start):
            return None
        if other != self:
            raise BadOptions(f"{self.name} was given twice, with different structures; give one")
        return self

    @property
    def orders_sites(self) -> bool:
        """Whether sites are given: they come first, in whatever order."""
        return bool(self.numbers)

    def bind(self, representation: Representation) -> Grammar:
        """Return the grammar that begins with the given tokens.

        Raises:
            BadOptions: too many sites, a cell off the grids, an element or state without a token,
                or the representation is not ``Atoms``.
        """
        from matgen_materium.constraint_phases import atoms_of, cell_ids
        from matgen_materium.given_tokens import GivenTokens

        atoms = atoms_of(representation, self.name)
        if len(self.numbers) > atoms.max_sites:
            raise BadOptions(
                f"{self.name}: {len(self.numbers)} sites are given and this model writes at most "
                f"{atoms.max_sites}; leave sites out, or give the primitive cell"
            )
        return GivenTokens(
            atoms,
            cell_ids=cell_ids(np.array(self.cell), atoms, self.name) if self.cell else None,
            sites_K4V=self._sites(atoms) if self.numbers else None,
        )

    def _sites(self, atoms: Atoms) -> NDArray[np.bool_]:
        """Return (K, 4, V) the tokens at the four positions of each given site."""
        n = len(self.numbers)
        sites_K4V = np.zeros((n, 4, len(atoms.vocabulary())), dtype=np.bool_)
        species, *axes = atoms.site_columns
        points = atoms.first_bin + atoms.bins.quantise_frac(np.array(self.frac))
        for axis, column in enumerate(axes):
            sites_K4V[np.arange(n), column, points[:, axis]] = True
        of_element = np.array(self.numbers)[:, None] == atoms.species_pairs[:, 0]
        good = of_element
        if self.states:
            good = of_element & (np.array(self.states)[:, None] == atoms.species_pairs[:, 1])
        for site, (known, found) in enumerate(zip(of_element, good, strict=True)):
            number = self.numbers[site]
            symbol = elements.symbols[number] if 1 <= number < len(elements.symbols) else number
            if not known.any():
                raise BadOptions(
                    f"{self.name}: site {site + 1} is {symbol}, which this model has no token for; "
                    "replace or remove it"
                )
            if not found.any():
                states = ", ".join(f"{s:+d}" for s in atoms.species_pairs[known, 1])
                raise BadOptions(
                    f"{self.name}: site {site + 1} is {symbol} {self.states[site]:+d}, a state "
                    f"without a token (known: {states}); correct it, or remove all states"
                )
        sites_K4V[:, species, atoms.first_species : atoms.first_bin] = good
        return sites_K4V
