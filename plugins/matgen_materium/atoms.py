"""The Materium representation: [SOS] [ATOMS] (species x y z)… [LATTICE] a b c α β γ [EOS].

Source: Materium, arXiv:2512.07486, section on tokenisation. 4N + 10 tokens for N sites.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from matgen import Crystal, Representation, Tokens, Vocabulary, elements
from matgen.errors import BadOptions, CrystalError, Undecodable
from matgen.roles.representation import SpeciesTokens
from matgen_materium import atoms_batch
from matgen_materium.bins import Bins, named_bins
from matgen_materium.cells import (
    MINIMUM_SQUARED_SHAPE,
    lattice_parameters,
    lattice_vectors,
    squared_shape,
)
from matgen_materium.equivalent_cells import equivalent_cells
from matgen_materium.token_features import token_features

if TYPE_CHECKING:
    from matgen import Ordering
    from matgen_materium.grammar import AtomsGrammar

SPECIALS = ("[SOS]", "[EOS]", "[ATOMS]", "[LATTICE]")
SOS, EOS, ATOMS, LATTICE = range(4)
HEAVIEST = 103
"""Largest atomic number with species tokens (Lr)."""
_WIDEST_STATE = 15
"""Larger than any tabulated oxidation state, either sign."""
KIND_NAMES = ("special", "element", "coordinate", "lattice")
SPECIAL, ELEMENT, COORDINATE, LATTICE_PARAMETER = range(4)

Count = TypeVar("Count", int, NDArray[np.int64])
"""A number of sites, or many."""


class Atoms(Representation):
    """Sites as species and quantised coordinates, the lattice as six quantised parameters."""

    name = "atoms"
    cites = ("Materium, arXiv:2512.07486",)

    bins: Annotated[Bins, BeforeValidator(named_bins)] = Bins()
    """Points of coordinates and lattice; also ``paper``, the paper's counts and ranges."""
    max_sites: int = Field(default=20, ge=1)
    """Largest cell; larger ones are outside the range."""
    inner: Literal["species_first", "coordinates_first"] = "species_first"
    """Order inside a site. The paper saw no significant difference."""
    lattice: Literal["last", "first"] = "last"
    """Where the cell is written; ``first`` lets distances be known while sites are placed."""
    lattice_range: Literal["fixed", "dataset", "fitted"] = "fixed"
    """``dataset``: grids as long as the training crystals need, at the steps of ``bins``; they are
    then ``fitted``, and part of the vocabulary."""
    origins: Literal["canonical", "random"] = "canonical"
    """``random``: each epoch moves a crystal's origin to another point of the grid."""
    cells: Literal["canonical", "random"] = "canonical"
    """``random``: each epoch draws one of the up to 48 cells with the same lattice tokens: axes of
    equal length exchanged, axes turned round. Half of them show the mirror image, which has the
    same energy; where that is another crystal (a tenth of the bundled set), its space group may be
    the other one of an enantiomorphic pair."""

    @property
    def max_tokens(self) -> int:
        """4N + 10 at the largest N."""
        return 4 * self.max_sites + 10

    def vocabulary(self) -> Vocabulary:
        """Return specials, species [Fe|+3], then the bins shared by coordinates and lattice."""
        return self._vocabulary

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        species = [
            f"[{elements.symbols[number]}|{state:+d}]"
            if state
            else f"[{elements.symbols[number]}|0]"
            for number, state in self.species
        ]
        bins = [f"#{k}" for k in range(self.bins.n_tokens)]
        return Vocabulary(
            names=(*SPECIALS, *species, *bins),
            kinds=("special",) * len(SPECIALS) + ("element",) * len(species) + ("bin",) * len(bins),
            start=SOS,
            end=EOS,
            scales=self.bins.scales,
            features_VF=token_features(self),
        )

    @cached_property
    def species(self) -> tuple[tuple[int, int], ...]:
        """(atomic number, oxidation state) of each species token, in the order of their ids."""
        return tuple(
            (number, state)
            for number in range(1, HEAVIEST + 1)
            for state in elements.oxidation_states[number]
        )

    @property
    def first_species(self) -> int:
        """Id of the first species token."""
        return len(SPECIALS)

    @property
    def first_bin(self) -> int:
        """Id of bin 0."""
        return len(SPECIALS) + len(self.species)

    @cached_property
    def species_pairs(self) -> NDArray[np.int64]:
        """(S, 2) ``species`` as an array."""
        return np.array(self.species, dtype=np.int64)

    def species_ids(
        self, numbers: NDArray[np.int64], states: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the species token of each atomic number and oxidation state, -1 where none is."""
        inside = (numbers <= HEAVIEST) & (abs(states) <= _WIDEST_STATE)
        row, column = np.where(inside, (numbers, states + _WIDEST_STATE), 0)
        ids: NDArray[np.int64] = self._species_table[row, column]
        return ids

    @cached_property
    def _species_table(self) -> NDArray[np.int64]:
        table = np.full((HEAVIEST + 1, 2 * _WIDEST_STATE + 1), -1, dtype=np.int64)
        numbers, states = self.species_pairs.T
        table[numbers, states + _WIDEST_STATE] = self.first_species + np.arange(len(numbers))
        return table

    @property
    def stop(self) -> int:
        """Id of the token that ends the sites."""
        return EOS if self.lattice == "first" else LATTICE

    def species_tokens(self) -> SpeciesTokens:
        """Return the elements and states of the species tokens.

        Raises:
            BadOptions: coordinates come before the species, which is then no longer free.
        """
        if self.inner == "coordinates_first":
            raise BadOptions(
                "rules on elements and formulas need a model that writes the species of a site "
                "before its coordinates (representation.inner=species_first)"
            )
        pairs_V2 = np.zeros((len(self._vocabulary), 2), dtype=np.int64)
        pairs_V2[self.first_species : self.first_bin] = self.species_pairs
        return SpeciesTokens(pairs_V2[:, 0], pairs_V2[:, 1], self.stop, self.max_sites)

    def grammar(self) -> AtomsGrammar:
        """Return the language as a table-driven state machine."""
        from matgen_materium.grammar import AtomsGrammar

        return AtomsGrammar(self)

    def items(self, crystal: Crystal) -> Crystal:
        """Return the crystal with coordinates on the grid; an item is a site."""
        frac = self.bins.frac(self.bins.quantise_frac(crystal.frac))
        return Crystal(crystal.lattice, frac, crystal.numbers, crystal.oxidation)

    def encode(self, crystal: Crystal, ordering: Ordering, rng: np.random.Generator) -> Tokens:
        """Return the 4N + 10 tokens of a crystal.

        Raises:
            OutsideRange: too many sites, a lattice parameter off its grid, a species without a
                token, or no oxidation states.
        """
        [encoded] = self.encode_batch([crystal], ordering, [rng])
        if isinstance(encoded, CrystalError):
            raise encoded
        return encoded

    def encode_batch(
        self,
        crystals: Sequence[Crystal],
        ordering: Ordering,
        rngs: Sequence[np.random.Generator],
    ) -> list[Tokens | CrystalError]:
        """Return sequence or reason for each crystal, with arrays instead of a loop over sites."""
        return atoms_batch.encode_batch(self, crystals, ordering, rngs)

    @property
    def stochastic(self) -> bool:
        """Whether each epoch draws another cell or origin."""
        return self.cells == "random" or self.origins == "random"

    def redescribed(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        """Return the crystal in an equivalent cell, then with its origin moved, as asked for.

        Both are exact: points of the grid become points of the grid, and the lattice keeps its
        tokens, for the crystal is turned (or mirrored) and not its cell.
        """
        if not self.stochastic:
            return crystal
        n = self.bins.n_coordinate
        points = self.bins.quantise_frac(crystal.frac)
        if self.cells == "random":
            changes = equivalent_cells(crystal.lattice)
            # The inverse of a change is another of them, so any may stand for it.
            points = points @ changes[rng.integers(len(changes))]
        if self.origins == "random":
            points = points + rng.integers(n, size=3)
        frac = self.bins.frac(points % n)
        return Crystal(crystal.lattice, frac, crystal.numbers, crystal.oxidation)

    @property
    def unfitted(self) -> bool:
        """Whether the grids of the lattice are to be taken from the training crystals."""
        return self.lattice_range == "dataset"

    def fitted(self, crystals: Iterable[Crystal]) -> Atoms:
        """Return the representation with grids that just hold the crystals' lattices."""
        lowest, highest = np.full(6, np.inf), np.full(6, -np.inf)
        for crystal in crystals:
            if crystal.n_sites <= self.max_sites:
                parameters = lattice_parameters(crystal.lattice)
                lowest, highest = np.minimum(lowest, parameters), np.maximum(highest, parameters)
        if not np.isfinite(lowest).all():
            raise BadOptions(
                f"no training crystal has at most {self.max_sites} sites to fit a lattice grid to"
            )
        bins = self.bins.over(lowest, highest)
        return self.model_copy(update={"bins": bins, "lattice_range": "fitted"})

    def answers(self, asked: Representation) -> bool:
        """Whether this is what was asked for, or became it by fitting."""
        if isinstance(asked, Atoms) and asked.unfitted and self.lattice_range == "fitted":
            return self.model_copy(update={"bins": asked.bins, "lattice_range": "dataset"}) == asked
        return self == asked

    def decode(self, tokens: Tokens) -> Crystal:
        """Return the crystal, sites as written, lattice vectors with a along x.

        Raises:
            Undecodable: says at which position the sequence leaves the language.
        """
        ids = tokens.ids
        n_sites, rest = divmod(len(ids) - 10, 4)
        if rest or not 1 <= n_sites <= self.max_sites:
            raise Undecodable(f"{len(ids)} tokens are not 4N + 10 for 1 to {self.max_sites} sites")
        kinds = self.position_kinds(tokens)
        first_lattice, first_site = self.places(n_sites)
        expected = np.full(len(ids), -1)
        expected[[0, -1]] = SOS, EOS
        expected[first_lattice - 1], expected[first_site - 1] = LATTICE, ATOMS
        is_species = (ids >= self.first_species) & (ids < self.first_bin)
        is_bin = (ids >= self.first_bin) & (ids < self.first_bin + self.bins.n_tokens)
        site_ids = ids[first_site : first_site + 4 * n_sites].reshape(n_sites, 4)
        good = np.where(
            expected >= 0, ids == expected, np.where(kinds == ELEMENT, is_species, is_bin)
        )
        if not good.all():
            at = int(np.argmin(good))
            raise Undecodable(f"token {int(ids[at])} at position {at} leaves the language")
        place = self.site_columns
        coordinates = site_ids[:, place[1:]] - self.first_bin
        lattice = ids[first_lattice : first_lattice + 6] - self.first_bin
        if (coordinates >= self.bins.n_coordinate).any():
            raise Undecodable("a coordinate token is no coordinate bin")
        if any(k >= grid.n for k, grid in zip(lattice, self.bins.lattice, strict=True)):
            raise Undecodable("a lattice token lies past the end of its grid")
        parameters = self.bins.parameters(lattice)
        if squared_shape(*np.cos(np.radians(parameters[3:]))) < MINIMUM_SQUARED_SHAPE:
            told = ", ".join(f"{angle:g}" for angle in parameters[3:])
            raise Undecodable(f"angles {told} make a flat cell or none")
        species = self.species_pairs[site_ids[:, place[0]] - self.first_species]
        return Crystal(
            lattice_vectors(parameters), self.bins.frac(coordinates), species[:, 0], species[:, 1]
        )

    def decode_batch(self, sequences: Sequence[Tokens]) -> list[Crystal | CrystalError]:
        """Return crystal or reason for each sequence, whole sentences all at once."""
        whole = atoms_batch.decode_batch(self, sequences)
        return [
            self._fault(tokens) if crystal is None else crystal
            for tokens, crystal in zip(sequences, whole, strict=True)
        ]

    def _fault(self, tokens: Tokens) -> CrystalError:
        try:
            self.decode(tokens)
        except CrystalError as error:
            return error
        raise AssertionError("decode accepts what decode_batch refused")

    def position_kinds(self, tokens: Tokens) -> NDArray[np.int64]:
        """Return special, element, coordinate or lattice for each position of a whole sequence.

        The token that ends the sites is chosen where the next site could begin, and counts as
        that position's kind.
        """
        return self._kinds((len(tokens) - 10) // 4).copy()

    def position_kinds_batch(self, sequences: Sequence[Tokens]) -> NDArray[np.int64]:
        """Return the kinds of several sequences; they depend on the number of sites alone."""
        return np.concatenate([self._kinds((len(tokens) - 10) // 4) for tokens in sequences])

    def _kinds(self, n_sites: int) -> NDArray[np.int64]:
        """Return the kinds of a sequence, remembered; not to be changed."""
        if n_sites not in self._kinds_by_size:
            first_lattice, first_site = self.places(n_sites)
            kinds = np.full(4 * n_sites + 10, SPECIAL, dtype=np.int64)
            site = np.full(4, COORDINATE)
            site[self.site_columns[0]] = ELEMENT
            kinds[first_site : first_site + 4 * n_sites] = np.tile(site, n_sites)
            kinds[first_lattice : first_lattice + 6] = LATTICE_PARAMETER
            kinds[first_site + 4 * n_sites] = site[0]
            self._kinds_by_size[n_sites] = kinds
        return self._kinds_by_size[n_sites]

    @cached_property
    def _kinds_by_size(self) -> dict[int, NDArray[np.int64]]:
        return {}

    @property
    def site_columns(self) -> list[int]:
        """Columns of species, x, y, z among the four tokens of a site."""
        return [0, 1, 2, 3] if self.inner == "species_first" else [3, 0, 1, 2]

    @property
    def frame_ids(self) -> NDArray[np.int64]:
        """(4,) ids of start, cell marker, sites marker, end."""
        return np.array([SOS, LATTICE, ATOMS, EOS], dtype=np.int64)

    def places(self, n_sites: Count) -> tuple[Count, Count]:
        """Return the positions of the first lattice parameter and of the first site token."""
        if self.lattice == "first":
            return 0 * n_sites + 2, 0 * n_sites + 9
        return 4 * n_sites + 3, 0 * n_sites + 2
