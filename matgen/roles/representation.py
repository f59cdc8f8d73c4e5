"""Role: crystals as token sequences, both ways, and which sequences are crystals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matgen.atomic import read_json
from matgen.errors import BadFile, BadOptions, CrystalError, NewerFormat
from matgen.records import Crystal, PropertyValue, Tokens
from matgen.roles.component import Component

if TYPE_CHECKING:
    from torch import Tensor

    from matgen.roles.ordering import Ordering

GrammarState: TypeAlias = "dict[str, Tensor]"
"""Named tensors with rows first. The engine may index, concatenate and scatter rows of any state,
so a state holds everything about its row and nothing else."""

VOCABULARY_FORMAT: Final = 1
"""Version of vocabulary.json's layout."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a representation.

    Attributes:
        names: Text of each token, position = id, all different.
        kinds: Kind of each token (``element``, ``coordinate``, ``lattice`` …); reports, and
            temperatures per kind, go by it. Where one token serves two kinds (shared bins), the
            kind of a *position* differs: see ``Representation.kinds``.
        start: Id that opens every sequence.
        end: Id that closes every sequence.
        continuous: Ids that carry a value.
        scales: What quantised tokens mean: quantity to the value of bin 0, the step, and the number
            of bins, in the unit that its name gives (``a_ang``).
        features_VF: (V, F) float32, what is known of each token before anything is learned, for
            networks that can use it; None where the representation says nothing. Follows from the
            representation, so it is neither stored nor compared.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    start: int
    end: int
    continuous: tuple[int, ...] = ()
    scales: tuple[tuple[str, float, float, int], ...] = ()
    features_VF: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Token text to id."""
        return {name: index for index, name in enumerate(self.names)}

    def to_json(self) -> dict[str, object]:
        """Return what ``vocabulary.json`` holds."""
        return {
            "format": VOCABULARY_FORMAT,
            "names": list(self.names),
            "kinds": list(self.kinds),
            "start": self.start,
            "end": self.end,
            "continuous": list(self.continuous),
            "scales": {
                name: {"lowest": lowest, "step": step, "n": n}
                for name, lowest, step, n in self.scales
            },
        }

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read a vocabulary.json.

        Raises:
            BadFile: missing, or damaged.
            NewerFormat: written by a newer matgen.
        """
        saved: dict[str, Any] = read_json(path)  # JSON values
        written = saved.get("format")
        if isinstance(written, int) and written > VOCABULARY_FORMAT:
            raise NewerFormat(
                f"{path} was written by a newer matgen (format {written}; this installation reads "
                f"up to {VOCABULARY_FORMAT}): pip install --upgrade matgen"
            )
        try:
            vocabulary = cls(
                names=tuple(map(str, saved["names"])),
                kinds=tuple(map(str, saved["kinds"])),
                start=int(saved["start"]),
                end=int(saved["end"]),
                continuous=tuple(map(int, saved["continuous"])),
                # Written before there were scales, a file lacks them.
                scales=tuple(
                    (name, float(scale["lowest"]), float(scale["step"]), int(scale["n"]))
                    for name, scale in saved.get("scales", {}).items()
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadFile(f"{path} is damaged ({error!r})") from None
        n = len(vocabulary)
        ids = (vocabulary.start, vocabulary.end, *vocabulary.continuous)
        whole = len(vocabulary.ids) == len(vocabulary.kinds) == n
        if not whole or not all(0 <= token < n for token in ids):
            raise BadFile(f"{path} is damaged: its tokens, kinds and ids do not fit together")
        return vocabulary


@dataclass(frozen=True, eq=False)
class SpeciesTokens:
    """How a representation writes what a crystal is made of: one species token per site.

    Attributes:
        numbers_V: (V,) int64 atomic number of each token, 0 where it is no species.
        states_V: (V,) int64 oxidation state of each species token, 0 elsewhere.
        stop: Id of the token that ends the sites. It stands where the next species could.
        max_sites: Most sites in a cell.
    """

    numbers_V: NDArray[np.int64]
    states_V: NDArray[np.int64]
    stop: int
    max_sites: int


class Grammar(ABC):
    """Which tokens may come next, for many rows at once: a batched state machine.

    All tensors live on the device given to ``begin``; no method copies to the host. A state is
    never changed in place, so an older one can be kept for a rewind. The intersection of a grammar
    with constraints is again a grammar.
    """

    @abstractmethod
    def begin(self, rows: int, device: str) -> GrammarState:
        """Return the state before the first token (the start token comes first)."""

    @abstractmethod
    def allowed(self, state: GrammarState) -> Tensor:
        """Return (B, V) bool: what may come next. A finished row allows nothing."""

    @abstractmethod
    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        """Return the state after one more token in each row.

        Args:
            state: Left unchanged.
            ids: (B,) int64. A token that was not allowed leaves the row unspecified.
            values: (B,) float32 where continuous tokens exist.
        """

    @abstractmethod
    def finished(self, state: GrammarState) -> Tensor:
        """Return (B,) bool: the row is a whole sentence."""

    @abstractmethod
    def kinds(self, state: GrammarState) -> Tensor:
        """Return (B,) int64: index into ``kind_names`` of the position to be written next."""

    @property
    @abstractmethod
    def kind_names(self) -> tuple[str, ...]:
        """Kinds of positions, for temperatures and reports per kind."""

    def bounds(self, state: GrammarState) -> tuple[Tensor, Tensor] | None:
        """Return (B,) lowest and (B,) highest value a continuous token may take next.

        None where the representation has no continuous tokens.
        """
        del state
        return None


class Representation(Component):
    """Turns crystals into token sequences and back."""

    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """Return the tokens; depends on the settings alone."""

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Longest sequence, start and end included."""

    @abstractmethod
    def grammar(self) -> Grammar:
        """Return the language: exactly the sequences that ``decode`` accepts."""

    @abstractmethod
    def items(self, crystal: Crystal) -> Crystal:
        """Return what an ordering permutes, one site per item, quantised.

        Raises:
            OutsideRange: the representation cannot hold this crystal.
        """

    @abstractmethod
    def encode(self, crystal: Crystal, ordering: Ordering, rng: np.random.Generator) -> Tokens:
        """Return the sequence of a crystal, start and end tokens included.

        Args:
            crystal: In the canonical cell, with oxidation states.
            ordering: Order of the items.
            rng: Passed to the ordering.

        Raises:
            OutsideRange: the representation cannot hold this crystal.
        """

    def encode_batch(
        self,
        crystals: Sequence[Crystal],
        ordering: Ordering,
        rngs: Sequence[np.random.Generator],
    ) -> list[Tokens | CrystalError]:
        """Return sequence or reason for each crystal; override where a batch is faster.

        Args:
            crystals: As ``encode`` takes them.
            ordering: Order of the items.
            rngs: One per crystal.
        """
        encoded: list[Tokens | CrystalError] = []
        for crystal, rng in zip(crystals, rngs, strict=True):
            try:
                encoded.append(self.encode(crystal, ordering, rng))
            except CrystalError as error:
                encoded.append(error)
        return encoded

    @property
    def stochastic(self) -> bool:
        """Whether ``redescribed`` draws another description in each epoch (augmentation)."""
        return False

    def redescribed(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        """Return an equal crystal described otherwise, as one epoch of training should see it.

        Args:
            crystal: As ``decode`` gives it: on the grid, and it stays there.
            rng: The crystal's own stream of this epoch.
        """
        del rng
        return crystal

    @property
    def unfitted(self) -> bool:
        """Whether settings are still to be chosen from the training crystals, by ``fitted``."""
        return False

    def fitted(self, crystals: Iterable[Crystal]) -> Representation:
        """Return this representation with what depends on the training crystals filled in."""
        del crystals
        return self

    def answers(self, asked: Representation) -> bool:
        """Whether data written by this representation is what ``asked`` asks for."""
        return self == asked

    @abstractmethod
    def decode(self, tokens: Tokens) -> Crystal:
        """Return the crystal of a whole sequence, sites in the order written.

        Raises:
            Undecodable: no sentence of the language.
        """

    def decode_batch(self, sequences: Sequence[Tokens]) -> list[Crystal | CrystalError]:
        """Return crystal or reason for each sequence; override where a batch is faster."""
        decoded: list[Crystal | CrystalError] = []
        for tokens in sequences:
            try:
                decoded.append(self.decode(tokens))
            except CrystalError as error:
                decoded.append(error)
        return decoded

    def species_tokens(self) -> SpeciesTokens:
        """Return how sites say their species, for rules on what a crystal is made of.

        Raises:
            BadOptions: this representation says it in another way.
        """
        raise BadOptions(
            f"rules on elements and formulas cannot read the representation {self.name!r}: it does "
            "not write one species token per site"
        )

    @property
    def prompted(self) -> tuple[str, ...]:
        """Labels of conditions that become prompt tokens instead of condition slots."""
        return ()

    def prompt(self, wanted: Mapping[str, PropertyValue]) -> Tokens:
        """Return the tokens a sample starts from: the start token and what is prompted.

        Args:
            wanted: Values of the prompted conditions that were asked for.
        """
        del wanted
        vocabulary = self.vocabulary()
        values = np.zeros(1, dtype=np.float32) if vocabulary.continuous else None
        return Tokens(np.array([vocabulary.start], dtype=np.int64), values)

    @abstractmethod
    def position_kinds(self, tokens: Tokens) -> NDArray[np.int64]:
        """Return (L,) int64 indices into the grammar's ``kind_names``, one per position."""

    def position_kinds_batch(self, sequences: Sequence[Tokens]) -> NDArray[np.int64]:
        """Return the kinds of several sequences, one after another; override where it is faster."""
        return np.concatenate([self.position_kinds(tokens) for tokens in sequences])
