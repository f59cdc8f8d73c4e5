"""Rule: the lattice has the metric symmetry of a lattice system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from matgen import Constraint
from matgen.errors import BadOptions
from matgen_materium.bins import Bins
from matgen_materium.constraint_cell import Cell
from matgen_materium.constraint_start import Start

if TYPE_CHECKING:
    from typing import Self

    from matgen import Grammar, Representation

System = Literal[
    "cubic", "hexagonal", "rhombohedral", "tetragonal", "orthorhombic", "monoclinic", "triclinic"
]


class LatticeSystem(Constraint):
    """The reduced cell of every crystal is a lattice of at least this symmetry.

    The sites may have less: a crystal in a cubic lattice need not be cubic.
    """

    name = "lattice_system"
    cites = ("International Tables for Crystallography A, table 9.2.5.1",)

    system: System
    """Lattice system; ``triclinic`` allows any cell."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule of a lattice system's name.

        Raises:
            BadOptions: any other text.
        """
        for system in get_args(System):
            if text.strip().lower() == system:
                return cls(system=system)
        raise BadOptions(
            f"{cls.name}: {text!r} is no lattice system; write {', '.join(get_args(System)[:-1])} "
            f"or {get_args(System)[-1]}"
        )

    def join(self, other: Constraint) -> Constraint | None:
        """Return the same rule where the other one is equal; None else.

        Raises:
            BadOptions: the other one gives a cell that is no such lattice.
        """
        from matgen_materium.reduced_lattices import ReducedLattices

        if other == self:
            return self
        parameters = _cell_of(other)
        if not parameters:
            return None
        # Before binding, no model's own grids are known; the default ones tell near from far.
        bins, inside = Bins().lattice_bins(np.array(parameters))
        if inside.all() and not ReducedLattices(Bins(), self.system).holds(bins):
            raise BadOptions(
                f"{self.name}: the cell that {other.name} gives is no reduced cell of a "
                f"{self.system} lattice; drop one of the two, or give the reduced cell"
            )
        return None

    def bind(self, representation: Representation) -> Grammar:
        """Return the grammar of the system's reduced cells.

        Raises:
            BadOptions: the representation is not ``Atoms``.
        """
        from matgen_materium.constraint_phases import atoms_of
        from matgen_materium.lattice_grammar import LatticeGrammar

        return LatticeGrammar(atoms_of(representation, self.name), self.system)


def _cell_of(rule: Constraint) -> tuple[float, ...]:
    """Return the lattice parameters that a rule decides, none where it leaves them free."""
    if isinstance(rule, Cell):
        return rule.parameters
    return rule.cell if isinstance(rule, Start) else ()
