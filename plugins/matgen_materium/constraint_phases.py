"""What rules on the geometry share: where in a sentence of ``Atoms`` each row stands.

Axes: B rows, P phases, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgen import Crystal, Grammar
from matgen.errors import BadCrystal, BadFile, BadOptions
from matgen.io.reading import read_crystals
from matgen_materium.atoms import EOS, Atoms
from matgen_materium.cells import MINIMUM_SQUARED_SHAPE, squared_shape

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState, Representation

START, FIRST_SITE, CELL_MARK, FIRST_LATTICE, DONE, N_PHASES = 0, 2, 6, 7, 14, 15
"""Phases: what is written next. A site is four phases long, the lattice six; 1 is the marker of
the sites and 13 the end."""
_SITES_MARK: Final = 1


class PhaseGrammar(Grammar):
    """The base of rules on the geometry: its state has ``phase`` and ``n_sites``, both (B,) int64.

    A rule adds what it remembers in ``begin`` and ``advance``, and allows what it has no say in.
    """

    def __init__(self, atoms: Atoms) -> None:
        """Take the representation whose sentences are written."""
        self.atoms = atoms
        following = np.arange(N_PHASES) + 1
        following[[FIRST_SITE + 3, DONE]] = FIRST_SITE, DONE
        if atoms.lattice == "first":
            following[[START, FIRST_LATTICE + 5]] = CELL_MARK, _SITES_MARK
        self._after_stop = DONE if atoms.stop == EOS else FIRST_LATTICE
        self._own: dict[str, NDArray[np.generic]] = {"following_P": following}
        self._tables: dict[str, dict[str, Tensor]] = {}

    @property
    def kind_names(self) -> tuple[str, ...]:
        """One kind; those of the language count."""
        return ("any",)

    def add_tables(self, **tables: NDArray[np.generic]) -> None:
        """Keep arrays that ``tables`` gives on the device of a state."""
        self._own.update(tables)

    def tables(self, state: GrammarState) -> dict[str, Tensor]:
        """Return the tables on the device of a state."""
        return self._tables[str(state["phase"].device)]

    def begin(self, rows: int, device: str) -> GrammarState:
        """Return rows at the start; copies the tables to a device on first use."""
        zeros = torch.zeros(rows, dtype=torch.int64, device=device)
        key = str(zeros.device)
        if key not in self._tables:
            self._tables[key] = {
                name: torch.from_numpy(np.ascontiguousarray(table)).to(device)
                for name, table in self._own.items()
            }
        return {"phase": zeros + START, "n_sites": zeros}

    def advance(
        self,
        state: GrammarState,
        ids: Tensor,
        values: Tensor | None = None,  # noqa: ARG002 - the role's signature
    ) -> GrammarState:
        """Return the next phase of every row, and its number of whole sites."""
        phase, n_sites = state["phase"], state["n_sites"]
        stopped = (phase == FIRST_SITE) & (ids == self.atoms.stop)
        following = torch.where(stopped, self._after_stop, self.tables(state)["following_P"][phase])
        whole = (phase == FIRST_SITE + 3).long()
        # A row that takes a token it was not allowed may try to go on past a full cell.
        return {
            "phase": following,
            "n_sites": (n_sites + whole).clamp(max=self.atoms.max_sites),
        }

    def finished(self, state: GrammarState) -> Tensor:
        """Return (B,) False: the language alone knows."""
        return torch.zeros_like(state["phase"], dtype=torch.bool)

    def kinds(self, state: GrammarState) -> Tensor:
        """Return (B,) zeros."""
        return torch.zeros_like(state["phase"])


def atoms_of(representation: Representation, rule: str) -> Atoms:
    """Return the representation, which must be ``Atoms``.

    Raises:
        BadOptions: it is another.
    """
    if not isinstance(representation, Atoms):
        raise BadOptions(
            f"{rule} needs a model that writes coordinates and a cell (representation 'atoms'); "
            f"this one writes {representation.name!r}: leave {rule} out"
        )
    return representation


def cell_ids(parameters: NDArray[np.float64], atoms: Atoms, rule: str) -> NDArray[np.int64]:
    """Return the (6,) tokens of a cell: the nearest points of the grids.

    Raises:
        BadOptions: a parameter is off its grid, whatever ``bins.outside`` says, or the angles make
            no cell that can be written.
    """
    bins = atoms.bins.model_copy(update={"outside": "drop"})
    points, inside = bins.lattice_bins(parameters)
    if not inside.all():
        raise BadOptions(
            f"{rule}: {bins.outside_range(parameters, inside)} of this model; give the reduced "
            "(primitive) cell, or another model"
        )
    angles = bins.parameters(points)[3:]
    if squared_shape(*np.cos(np.radians(angles))) < MINIMUM_SQUARED_SHAPE:
        told = ", ".join(f"{angle:g}" for angle in angles)
        raise BadOptions(
            f"{rule}: the angles {told} make a flat cell or none; give the reduced (primitive) cell"
        )
    return atoms.first_bin + points


def only_crystal(path: str, rule: str) -> Crystal:
    """Return the one crystal of a structure file, its cell as it is written there.

    Raises:
        BadOptions: no such file, or not exactly one crystal in it.
    """
    try:
        found = [record.crystal for record in read_crystals(Path(path))]
    except (BadFile, BadCrystal) as error:
        raise BadOptions(f"{rule}: {error}") from None
    if len(found) != 1:
        raise BadOptions(f"{rule}: {path} holds {len(found)} crystals; give a file that holds one")
    return found[0]
