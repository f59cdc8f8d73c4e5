"""The language of ``Atoms`` as a batched state machine, all tensors, no host synchronisation.

Axes: B rows, P phases, V vocabulary, G points of gamma.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgen import Grammar
from matgen_materium.atoms import (
    ATOMS,
    COORDINATE,
    ELEMENT,
    EOS,
    KIND_NAMES,
    LATTICE,
    LATTICE_PARAMETER,
    SOS,
    SPECIAL,
)
from matgen_materium.cells import MINIMUM_SQUARED_SHAPE, squared_shape

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_materium.atoms import Atoms

_START, _ATOMS, _SITE, _LATTICE, _A, _END, _DONE = 0, 1, 2, 6, 7, 13, 14
"""Phases: what is written next. _SITE is four phases long, _A six."""
_ALPHA, _BETA, _GAMMA, _N_PHASES = _A + 3, _A + 4, _A + 5, 15


class AtomsGrammar(Grammar):
    """What may follow: sites until the stop token, a cell whose angles close.

    The state is the phase, the number of whole sites, and the bins of alpha and beta, which decide
    the gammas that give a proper cell.
    """

    def __init__(self, atoms: Atoms) -> None:
        self._atoms = atoms
        self._stop = atoms.stop
        self._tables: dict[str, dict[str, Tensor]] = {}

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Special, element, coordinate, lattice."""
        return KIND_NAMES

    def begin(self, rows: int, device: str) -> GrammarState:
        """Return rows at the start; builds the tables of this device on first use."""
        if device not in self._tables:
            self._tables[device] = {k: t.to(device) for k, t in self._build_tables().items()}
        zeros = torch.zeros(rows, dtype=torch.int64, device=device)
        return {"phase": zeros + _START, "n_sites": zeros, "alpha": zeros, "beta": zeros}

    def allowed(self, state: GrammarState) -> Tensor:
        """Return (B, V): the phase's tokens, less what site count and cell shape rule out."""
        tables = self._on(state)
        phase, n_sites = state["phase"], state["n_sites"]
        allowed = tables["mask"][phase]
        at_site = phase == _SITE
        full = n_sites >= self._atoms.max_sites
        stop = torch.zeros_like(allowed)
        stop[:, self._stop] = True
        allowed = torch.where((at_site & full)[:, None], allowed & stop, allowed)
        allowed = torch.where((at_site & (n_sites == 0))[:, None], allowed & ~stop, allowed)
        shape_BG = _squared_shape(
            tables["cos_alpha"][state["alpha"]][:, None],
            tables["cos_beta"][state["beta"]][:, None],
            tables["cos_gamma"][None, :],
        )
        first = self._atoms.first_bin
        closes = torch.ones_like(allowed)
        closes[:, first : first + shape_BG.shape[1]] = shape_BG >= MINIMUM_SQUARED_SHAPE
        allowed = torch.where((phase == _GAMMA)[:, None], allowed & closes, allowed)
        if "closes_AB" not in tables:
            return allowed
        n_alpha, n_beta = tables["closes_AB"].shape
        alphas, betas = torch.ones_like(allowed), torch.ones_like(allowed)
        alphas[:, first : first + n_alpha] = tables["closes_AB"].any(dim=1)
        betas[:, first : first + n_beta] = tables["closes_AB"][
            state["alpha"].clamp(max=n_alpha - 1)
        ]
        allowed = torch.where((phase == _ALPHA)[:, None], allowed & alphas, allowed)
        return torch.where((phase == _BETA)[:, None], allowed & betas, allowed)

    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        """Return the next state of every row."""
        del values
        tables = self._on(state)
        phase = state["phase"]
        stopped = (phase == _SITE) & (ids == self._stop)
        after_stop = _DONE if self._stop == EOS else _A
        following = torch.where(stopped, after_stop, tables["next"][phase])
        bins = (ids - self._atoms.first_bin).clamp(min=0)
        last = tables["cos_alpha"].shape[0] - 1
        return {
            "phase": following,
            "n_sites": state["n_sites"] + (phase == _SITE + 3).long(),
            "alpha": torch.where(phase == _ALPHA, bins.clamp(max=last), state["alpha"]),
            "beta": torch.where(phase == _BETA, bins.clamp(max=last), state["beta"]),
        }

    def finished(self, state: GrammarState) -> Tensor:
        """Return (B,): the end token was written."""
        return state["phase"] == _DONE

    def kinds(self, state: GrammarState) -> Tensor:
        """Return (B,): the kind of the position to be written next."""
        return self._on(state)["kind"][state["phase"]]

    def _on(self, state: GrammarState) -> dict[str, Tensor]:
        return self._tables[str(state["phase"].device)]

    def _build_tables(self) -> dict[str, Tensor]:
        atoms = self._atoms
        n_tokens = len(atoms.vocabulary())
        mask = torch.zeros(_N_PHASES, n_tokens, dtype=torch.bool)
        kind = torch.full((_N_PHASES,), SPECIAL)
        following = torch.arange(_N_PHASES) + 1
        following[_DONE] = _DONE
        mask[_START, SOS] = mask[_ATOMS, ATOMS] = True
        mask[_LATTICE, LATTICE] = mask[_END, EOS] = True
        columns = atoms.site_columns
        species = slice(atoms.first_species, atoms.first_bin)
        coordinates = slice(atoms.first_bin, atoms.first_bin + atoms.bins.n_coordinate)
        for column in range(4):
            is_species = column == columns[0]
            mask[_SITE + column, species if is_species else coordinates] = True
            kind[_SITE + column] = ELEMENT if is_species else COORDINATE
        mask[_SITE, self._stop] = True
        following[_SITE + 3] = _SITE
        for parameter, grid in enumerate(atoms.bins.lattice):
            mask[_A + parameter, atoms.first_bin : atoms.first_bin + grid.n] = True
            kind[_A + parameter] = LATTICE_PARAMETER
        if atoms.lattice == "first":
            following[_START] = _LATTICE
            following[_GAMMA] = _ATOMS
        cosines = [
            np.cos(np.radians(grid.lowest + grid.step * np.arange(grid.n)))
            for grid in atoms.bins.lattice[3:]
        ]
        n_angles = max(len(c) for c in cosines[:2])
        padded = [np.pad(c, (0, n_angles - len(c)), mode="edge") for c in cosines[:2]]
        tables = {
            "mask": mask,
            "kind": kind,
            "next": following,
            "cos_alpha": torch.from_numpy(padded[0]),
            "cos_beta": torch.from_numpy(padded[1]),
            "cos_gamma": torch.from_numpy(cosines[2]),
        }
        closes_AB = _closes(*cosines)
        if not closes_AB.all():
            # Not with the default grids; angles of other ranges may leave no gamma.
            tables["closes_AB"] = torch.from_numpy(closes_AB)
        return tables


def _closes(
    cos_alpha: NDArray[np.float64], cos_beta: NDArray[np.float64], cos_gamma: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return (A, B): whether some gamma makes a proper cell with these alpha and beta.

    The shape is a parabola in cos gamma with its top at cos alpha · cos beta, so the gammas on
    either side of it decide.
    """
    product_AB = cos_alpha[:, None] * cos_beta[None, :]
    # Cosines fall as angles rise.
    above = np.searchsorted(-cos_gamma, -product_AB).clip(max=len(cos_gamma) - 1)
    closes = np.zeros(product_AB.shape, dtype=np.bool_)
    for nearest in (above, (above - 1).clip(min=0)):
        shape = squared_shape(cos_alpha[:, None], cos_beta[None, :], cos_gamma[nearest])
        closes |= shape >= MINIMUM_SQUARED_SHAPE
    return closes


def _squared_shape(cos_alpha: Tensor, cos_beta: Tensor, cos_gamma: Tensor) -> Tensor:
    """``cells.squared_shape`` on tensors, the same operations in the same order."""
    shape: Tensor = squared_shape(cos_alpha, cos_beta, cos_gamma)  # type: ignore[arg-type, assignment]  # duck-typed
    return shape
