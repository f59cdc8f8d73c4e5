"""Grammars made of grammars: intersections, plain per-row ones lifted to batches, finite tables.

Axes: B rows, V vocabulary, S states of a table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Final

import torch

from matgen.roles.representation import Grammar, GrammarState

if TYPE_CHECKING:
    from torch import Tensor

_DEAD: Final = -1
"""Handle of a row that took a token it was not allowed: it allows nothing more."""


def take_rows(state: GrammarState, rows: Tensor) -> GrammarState:
    """Return the state of these rows, (R,) int64 or (B,) bool; rows may repeat (fork)."""
    return {name: part[rows] for name, part in state.items()}


def put_rows(state: GrammarState, rows: Tensor, other: GrammarState) -> GrammarState:
    """Return ``state`` with these rows, (R,) int64, replaced by the rows of ``other``."""
    return {name: part.index_copy(0, rows, other[name]) for name, part in state.items()}


def choose_rows(first: Tensor, state: GrammarState, other: GrammarState) -> GrammarState:
    """Return the rows of ``state`` where ``first``, (B,) bool, and those of ``other`` elsewhere."""
    return {
        name: torch.where(first.view(-1, *[1] * (part.dim() - 1)), part, other[name])
        for name, part in state.items()
    }


class Intersection(Grammar):
    """A language with constraints: what every one of them allows.

    The language alone says when a row is finished and what kind a position is; bounds are
    intersected, and a continuous token whose interval is empty is not allowed.
    """

    def __init__(
        self,
        language: Grammar,
        constraints: Sequence[Grammar] = (),
        *,
        continuous: Sequence[int] = (),
    ) -> None:
        """Intersect.

        Args:
            language: The representation's own grammar.
            constraints: Grammars over the same tokens; each may allow more than the language.
            continuous: Ids of the tokens that carry a value.
        """
        self._language = language
        self._parts = (language, *constraints)
        self._continuous = tuple(continuous)

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Kinds of positions of the language."""
        return self._language.kind_names

    def begin(self, rows: int, device: str) -> GrammarState:
        """Return the states of all parts, keys prefixed by the part's number."""
        return self._joined([part.begin(rows, device) for part in self._parts])

    def allowed(self, state: GrammarState) -> Tensor:
        """Return (B, V) bool: what every part allows."""
        states = self._split(state)
        mask = self._language.allowed(states[0])
        for part, own in zip(self._parts[1:], states[1:], strict=True):
            mask = mask & part.allowed(own)
        interval = self.bounds(state) if self._continuous else None
        if interval is not None:
            empty = interval[0] > interval[1]
            carries = torch.zeros(mask.shape[1], dtype=torch.bool, device=mask.device)
            carries[list(self._continuous)] = True
            mask = mask & ~(empty[:, None] & carries)
        return mask

    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        """Return the state after one more token in each row, for every part."""
        return self._joined(
            [
                part.advance(own, ids, values)
                for part, own in zip(self._parts, self._split(state), strict=True)
            ]
        )

    def finished(self, state: GrammarState) -> Tensor:
        """Return (B,) bool: the row is a whole sentence of the language."""
        return self._language.finished(self._split(state)[0])

    def kinds(self, state: GrammarState) -> Tensor:
        """Return (B,) int64: the language's kinds."""
        return self._language.kinds(self._split(state)[0])

    def bounds(self, state: GrammarState) -> tuple[Tensor, Tensor] | None:
        """Return the tightest (B,) bounds of all parts that have any."""
        found: tuple[Tensor, Tensor] | None = None
        for part, own in zip(self._parts, self._split(state), strict=True):
            interval = part.bounds(own)
            if interval is None:
                continue
            if found is None:
                found = interval
            else:
                low, high = found
                found = torch.maximum(low, interval[0]), torch.minimum(high, interval[1])
        return found

    def _joined(self, states: Sequence[GrammarState]) -> GrammarState:
        return {
            f"{number}.{name}": tensor
            for number, state in enumerate(states)
            for name, tensor in state.items()
        }

    def _split(self, state: GrammarState) -> list[GrammarState]:
        states: list[GrammarState] = [{} for _ in self._parts]
        for key, tensor in state.items():
            number, name = key.split(".", 1)
            states[int(number)][name] = tensor
        return states


class RowGrammar(ABC):
    """A grammar for one row in plain Python; ``lifted`` makes it a batched one.

    Easier to write than a ``Grammar`` and slower to run: every step copies the ids to the host.
    States must be hashable values that are never changed; equal states are kept once.
    """

    kind_names: tuple[str, ...] = ("any",)
    """Kinds of positions; a constraint keeps the default, the language's kinds count."""

    @abstractmethod
    def start(self) -> Hashable:
        """Return the state before the first token."""

    @abstractmethod
    def allowed(self, state: Hashable) -> Collection[int]:
        """Return the ids that may come next; none for a finished state."""

    @abstractmethod
    def advance(self, state: Hashable, token: int, value: float) -> Hashable:
        """Return the state after one more token, which ``allowed`` contained.

        Args:
            state: Left unchanged.
            token: Its id.
            value: Its value where it is a continuous token, else 0.
        """

    @abstractmethod
    def finished(self, state: Hashable) -> bool:
        """Return whether the row is a whole sentence."""

    def kind(self, state: Hashable) -> int:
        """Return the index into ``kind_names`` of the position to be written next."""
        del state
        return 0

    def interval(self, state: Hashable) -> tuple[float, float] | None:
        """Return lowest and highest value of a continuous token; None: this grammar has none."""
        del state
        return None

    def lifted(self, n_tokens: int) -> Grammar:
        """Return the batched form over a vocabulary of ``n_tokens``."""
        return _Lifted(self, n_tokens)


class _Lifted(Grammar):
    """A ``RowGrammar`` behind the batched interface.

    The state is one handle per row, an index into a table of Python states inside this object, so
    rows are taken, forked and scattered like those of any other grammar. Every method copies the
    handles to the host and waits for the device. The table holds each distinct state once and
    lives as long as this object; a grammar whose states never repeat makes it grow by one entry
    per token.
    """

    def __init__(self, rules: RowGrammar, n_tokens: int) -> None:
        self._rules = rules
        self._n_tokens = n_tokens
        self._states: list[Hashable] = []
        self._handles: dict[Hashable, int] = {}
        self._has_bounds = rules.interval(rules.start()) is not None

    @property
    def kind_names(self) -> tuple[str, ...]:
        return self._rules.kind_names

    def begin(self, rows: int, device: str) -> GrammarState:
        handle = self._handle(self._rules.start())
        return {"handle": torch.full((rows,), handle, dtype=torch.int64, device=device)}

    def allowed(self, state: GrammarState) -> Tensor:
        handles = self._listed(state)
        mask = torch.zeros((len(handles), self._n_tokens), dtype=torch.bool)
        for row, handle in enumerate(handles):
            if handle != _DEAD:
                mask[row, list(self._rules.allowed(self._states[handle]))] = True
        return mask.to(state["handle"].device)

    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        tokens: list[int] = ids.tolist()
        carried: list[float] = [0.0] * len(tokens) if values is None else values.tolist()
        following = [
            self._next(handle, token, value)
            for handle, token, value in zip(self._listed(state), tokens, carried, strict=True)
        ]
        return {"handle": torch.tensor(following, dtype=torch.int64, device=ids.device)}

    def finished(self, state: GrammarState) -> Tensor:
        whole = [
            handle != _DEAD and self._rules.finished(self._states[handle])
            for handle in self._listed(state)
        ]
        return torch.tensor(whole, dtype=torch.bool, device=state["handle"].device)

    def kinds(self, state: GrammarState) -> Tensor:
        kinds = [
            0 if handle == _DEAD else self._rules.kind(self._states[handle])
            for handle in self._listed(state)
        ]
        return torch.tensor(kinds, dtype=torch.int64, device=state["handle"].device)

    def bounds(self, state: GrammarState) -> tuple[Tensor, Tensor] | None:
        if not self._has_bounds:
            return None
        device = state["handle"].device
        pairs = [
            None if handle == _DEAD else self._rules.interval(self._states[handle])
            for handle in self._listed(state)
        ]
        lows = [-float("inf") if pair is None else pair[0] for pair in pairs]
        highs = [float("inf") if pair is None else pair[1] for pair in pairs]
        return (
            torch.tensor(lows, dtype=torch.float32, device=device),
            torch.tensor(highs, dtype=torch.float32, device=device),
        )

    def _next(self, handle: int, token: int, value: float) -> int:
        if handle == _DEAD or token not in self._rules.allowed(self._states[handle]):
            return _DEAD
        return self._handle(self._rules.advance(self._states[handle], token, value))

    def _handle(self, state: Hashable) -> int:
        if state not in self._handles:
            self._handles[state] = len(self._states)
            self._states.append(state)
        return self._handles[state]

    def _listed(self, state: GrammarState) -> list[int]:
        handles: list[int] = state["handle"].tolist()
        return handles


class TableGrammar(Grammar):
    """A finite automaton: the whole language in one table, the state one number per row."""

    def __init__(
        self,
        following: Tensor,
        *,
        finished: Tensor,
        kinds: Tensor,
        kind_names: tuple[str, ...],
        bounds: Tensor | None = None,
    ) -> None:
        """Take the tables; state 0 is the one before the first token.

        Args:
            following: (S, V) int64, the state after a token; -1 where it is not allowed.
            finished: (S,) bool, the row is a whole sentence.
            kinds: (S,) int64, kind of the position to be written next.
            kind_names: Names of the kinds.
            bounds: (S, 2) float32, lowest and highest value of a continuous token, or None.
        """
        self._tables = {"following": following, "finished": finished, "kinds": kinds}
        if bounds is not None:
            self._tables["bounds"] = bounds
        self._kind_names = kind_names

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Names of the kinds of positions."""
        return self._kind_names

    def begin(self, rows: int, device: str) -> GrammarState:
        """Return state 0 for every row."""
        return {"state": torch.zeros(rows, dtype=torch.int64, device=device)}

    def allowed(self, state: GrammarState) -> Tensor:
        """Return (B, V) bool: the entries of the table that lead on."""
        return self._look_up("following", state) >= 0

    def advance(
        self,
        state: GrammarState,
        ids: Tensor,
        values: Tensor | None = None,  # noqa: ARG002 - the role's signature
    ) -> GrammarState:
        """Return the state the table gives; a token that was not allowed changes nothing."""
        following = self._look_up("following", state).gather(1, ids[:, None]).squeeze(1)
        return {"state": torch.where(following >= 0, following, state["state"])}

    def finished(self, state: GrammarState) -> Tensor:
        """Return (B,) bool from the table."""
        return self._look_up("finished", state)

    def kinds(self, state: GrammarState) -> Tensor:
        """Return (B,) int64 from the table."""
        return self._look_up("kinds", state)

    def bounds(self, state: GrammarState) -> tuple[Tensor, Tensor] | None:
        """Return the (B,) bounds of the table, None where it has none."""
        if "bounds" not in self._tables:
            return None
        low, high = self._look_up("bounds", state).unbind(1)
        return low, high

    def _look_up(self, name: str, state: GrammarState) -> Tensor:
        device = state["state"].device
        if self._tables[name].device != device:  # once per device, not once per step
            self._tables[name] = self._tables[name].to(device)
        return self._tables[name][state["state"]]
