"""The grammar of all rules on the composition: counts atoms and charges, and asks a look-ahead.

Axes: B rows, V vocabulary, E elements that may be written, S species tokens of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgen import Grammar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matgen.roles.ordering import ElementOrder
    from matgen.roles.representation import GrammarState, SpeciesTokens


class Columns:
    """The elements that may be written and their species tokens, as arrays.

    Attributes:
        numbers_E: (E,) atomic number of each element, in the order in which they are written;
            ascending where that is any.
        ordered: Whether an element may be written only before those that come after it.
        ids_S: (S,) id of each species token.
        column_S: (S,) place of its element in ``numbers_E``.
        states_S: (S,) its oxidation state.
    """

    def __init__(
        self, species: SpeciesTokens, numbers: Iterable[int], element_order: ElementOrder = "none"
    ) -> None:
        """Take the elements; each has a token."""
        self.ordered = element_order != "none"
        descending = element_order == "heaviest_first"
        self.numbers_E = np.array(sorted(numbers, reverse=descending), dtype=np.int64)
        self.ids_S = np.flatnonzero(np.isin(species.numbers_V, self.numbers_E)).astype(np.int64)
        same_SE = species.numbers_V[self.ids_S][:, None] == self.numbers_E
        self.column_S = same_SE.argmax(axis=1)
        self.states_S = species.states_V[self.ids_S]

    def states(self, column: int) -> list[int]:
        """Return the oxidation states of one element."""
        found: list[int] = np.unique(self.states_S[self.column_S == column]).tolist()
        return found

    @property
    def all_states(self) -> list[int]:
        """The oxidation states of any element."""
        found: list[int] = np.unique(self.states_S).tolist()
        return found

    @property
    def largest_state(self) -> int:
        """The largest oxidation state, either sign."""
        return int(np.abs(self.states_S).max())


class LookAhead(Protocol):
    """Says what may follow; is told what was written."""

    @property
    def tables(self) -> Mapping[str, NDArray[np.generic]]:
        """Arrays that ``allowed`` gets as tensors on the rows' device."""

    def allowed(self, state: GrammarState, tables: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return (B, S) which species may follow and (B,) whether the sites may end.

        Where elements have an order, the grammar itself refuses those before the one written last.

        Args:
            state: ``counts`` (B, E) and ``charge`` (B,), int64; ``charged`` (B,) int64, 1 where a
                state other than 0 was written.
            tables: Those of this look-ahead, with ``column_S``, ``states_S`` and ``numbers_E``.
        """


def last_column(state: GrammarState) -> Tensor:
    """Return (B,) the column of the element written last, where they are in order; 0 for none."""
    present_BE = (state["counts"] > 0).long()
    return (present_BE * torch.arange(present_BE.shape[1], device=present_BE.device)).amax(1)


class CompositionGrammar(Grammar):
    """Masks species tokens and the token that ends the sites; allows all others always."""

    def __init__(self, species: SpeciesTokens, columns: Columns, look_ahead: LookAhead) -> None:
        self._species = species
        self._columns = columns
        self._look_ahead = look_ahead
        self._tables: dict[str, dict[str, Tensor]] = {}

    @property
    def kind_names(self) -> tuple[str, ...]:
        """One kind; those of the language count."""
        return ("any",)

    def begin(self, rows: int, device: str) -> GrammarState:
        """Return rows without sites; copies the tables to a device on first use."""
        counts = torch.zeros((rows, len(self._columns.numbers_E)), dtype=torch.int64, device=device)
        key = str(counts.device)
        if key not in self._tables:
            tables = {**self._own_tables(), **self._look_ahead.tables}
            self._tables[key] = {
                name: torch.from_numpy(np.ascontiguousarray(table)).to(device)
                for name, table in tables.items()
            }
        zeros = torch.zeros(rows, dtype=torch.int64, device=device)
        return {"counts": counts, "charge": zeros, "charged": zeros}

    def allowed(self, state: GrammarState) -> Tensor:
        """Return (B, V) bool."""
        tables = self._on(state)
        species_BS, stop_B = self._look_ahead.allowed(state, tables)
        if self._columns.ordered:
            species_BS = species_BS & (tables["column_S"] >= last_column(state)[:, None])
        mask = tables["others_V"].repeat(len(stop_B), 1)
        mask[:, tables["ids_S"]] = species_BS
        mask[:, self._species.stop] = stop_B
        return mask

    def advance(
        self,
        state: GrammarState,
        ids: Tensor,
        values: Tensor | None = None,  # noqa: ARG002 - the role's signature
    ) -> GrammarState:
        """Return the state with one more atom where ``ids`` are species."""
        tables = self._on(state)
        charge = tables["states_V"][ids]
        return {
            "counts": state["counts"].scatter_add(
                1, tables["column_V"][ids][:, None], tables["counts_V"][ids][:, None]
            ),
            "charge": state["charge"] + charge,
            "charged": state["charged"] | (charge != 0).long(),
        }

    def finished(self, state: GrammarState) -> Tensor:
        """Return (B,) False: the language alone knows."""
        return torch.zeros_like(state["charge"], dtype=torch.bool)

    def kinds(self, state: GrammarState) -> Tensor:
        """Return (B,) zeros."""
        return torch.zeros_like(state["charge"])

    def _on(self, state: GrammarState) -> dict[str, Tensor]:
        return self._tables[str(state["charge"].device)]

    def _own_tables(self) -> dict[str, NDArray[np.generic]]:
        columns, numbers_V = self._columns, self._species.numbers_V
        column_V, counts_V = np.zeros_like(numbers_V), np.zeros_like(numbers_V)
        column_V[columns.ids_S] = columns.column_S
        counts_V[columns.ids_S] = 1
        return {
            "others_V": numbers_V == 0,
            "column_V": column_V,
            "counts_V": counts_V,
            "states_V": self._species.states_V,
            "ids_S": columns.ids_S,
            "column_S": columns.column_S,
            "states_S": columns.states_S,
            "numbers_E": columns.numbers_E,
        }
