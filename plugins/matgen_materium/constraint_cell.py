"""Rule: a given cell."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import field_validator

from matgen import Constraint
from matgen.errors import BadOptions
from matgen_materium.cells import cell_volume, lattice_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from matgen import Grammar, Representation


class Cell(Constraint):
    """Every crystal has this cell, on the nearest points of the model's grids."""

    name = "cell"

    parameters: tuple[float, float, float, float, float, float]
    """a, b, c in Å and alpha, beta, gamma in degrees."""

    @field_validator("parameters")
    @classmethod
    def _finite(cls, parameters: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < number < math.inf for number in parameters):
            raise BadOptions(
                f"{cls.name}: {parameters} are no lengths and angles of a cell; write positive "
                "numbers a,b,c,alpha,beta,gamma"
            )
        return parameters

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for a structure file or for a,b,c,alpha,beta,gamma.

        Raises:
            BadOptions: neither, or not exactly one crystal in the file.
        """
        from matgen_materium.constraint_phases import only_crystal

        text = text.strip()
        if (numbers := _six_numbers(text)) is not None:
            return cls(parameters=numbers)
        if not text or not Path(text).exists():
            raise BadOptions(
                f"{cls.name}: {text!r} is neither a structure file nor six numbers; write the name "
                "of a file, or a,b,c,alpha,beta,gamma such as 4.05,4.05,4.05,90,90,90"
            )
        a, b, c, alpha, beta, gamma = lattice_parameters(
            only_crystal(text, cls.name).lattice
        ).tolist()
        return cls(parameters=(a, b, c, alpha, beta, gamma))

    @property
    def fixes(self) -> Mapping[str, float]:
        """The volume of the cell."""
        return {"volume_ang3": cell_volume(self.parameters)}

    def bind(self, representation: Representation) -> Grammar:
        """Return the grammar that allows one token for each lattice parameter.

        Raises:
            BadOptions: the cell is off the grids, or the representation is not ``Atoms``.
        """
        from matgen_materium.constraint_phases import atoms_of, cell_ids
        from matgen_materium.given_tokens import GivenTokens

        atoms = atoms_of(representation, self.name)
        return GivenTokens(atoms, cell_ids=cell_ids(np.array(self.parameters), atoms, self.name))


def _six_numbers(text: str) -> tuple[float, float, float, float, float, float] | None:
    try:
        a, b, c, alpha, beta, gamma = map(float, re.split(r"\s*[,\s]\s*", text))
    except ValueError:  # not six, or not numbers
        return None
    return a, b, c, alpha, beta, gamma
