"""The Materium representation: [SOS] [ATOMS] (species x y z)… [LATTICE] a b c α β γ [EOS].

Source: Materium, arXiv:2512.07486, section on tokenisation. 4N + 10 tokens for N sites.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from matgen import Crystal, Representation, Tokens, Vocabulary, elements
from matgen.errors import OutsideRange, Undecodable
from matgen_materium.bins import Bins, named_bins
from matgen_materium.cells import (
    MINIMUM_SQUARED_SHAPE,
    lattice_parameters,
    lattice_vectors,
    squared_shape,
)

if TYPE_CHECKING:
    from matgen import Ordering
    from matgen_materium.grammar import AtomsGrammar

SPECIALS = ("[SOS]", "[EOS]", "[ATOMS]", "[LATTICE]")
SOS, EOS, ATOMS, LATTICE = range(4)
HEAVIEST = 103
"""Largest atomic number with species tokens (Lr)."""
KIND_NAMES = ("special", "element", "coordinate", "lattice")
SPECIAL, ELEMENT, COORDINATE, LATTICE_PARAMETER = range(4)


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
    def _species_ids(self) -> dict[tuple[int, int], int]:
        return {pair: self.first_species + i for i, pair in enumerate(self.species)}

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
        if crystal.n_sites > self.max_sites:
            raise OutsideRange(
                f"{crystal.n_sites} sites, the representation holds {self.max_sites}"
            )
        lattice = self.bins.quantise_lattice(lattice_parameters(crystal.lattice))
        self._check_shape(lattice)
        items = self.items(crystal)
        sites = items.take(ordering.permutation(items, rng))
        site_tokens = np.empty((sites.n_sites, 4), dtype=np.int64)
        place = self._site_columns
        site_tokens[:, place[0]] = self._species_of(sites)
        site_tokens[:, place[1:]] = self.first_bin + self.bins.quantise_frac(sites.frac)
        cell = [LATTICE, *(self.first_bin + lattice)]
        atoms = [ATOMS, *site_tokens.ravel()]
        body = [*cell, *atoms] if self.lattice == "first" else [*atoms, *cell]
        return Tokens(np.array([SOS, *body, EOS], dtype=np.int64))

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
        first_lattice, first_site = self._places(n_sites)
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
        place = self._site_columns
        coordinates = site_ids[:, place[1:]] - self.first_bin
        lattice = ids[first_lattice : first_lattice + 6] - self.first_bin
        if (coordinates >= self.bins.n_coordinate).any():
            raise Undecodable("a coordinate token is no coordinate bin")
        if any(k >= grid.n for k, grid in zip(lattice, self.bins.lattice, strict=True)):
            raise Undecodable("a lattice token lies past the end of its grid")
        try:
            self._check_shape(lattice)
        except OutsideRange as error:
            raise Undecodable(str(error)) from None
        species = np.array(self.species, dtype=np.int64)[site_ids[:, place[0]] - self.first_species]
        return Crystal(
            lattice_vectors(self.bins.parameters(lattice)),
            self.bins.frac(coordinates),
            species[:, 0],
            species[:, 1],
        )

    def position_kinds(self, tokens: Tokens) -> NDArray[np.int64]:
        """Return special, element, coordinate or lattice for each position of a whole sequence.

        The token that ends the sites is chosen where the next site could begin, and counts as
        that position's kind.
        """
        n_sites = (len(tokens) - 10) // 4
        first_lattice, first_site = self._places(n_sites)
        kinds = np.full(len(tokens), SPECIAL, dtype=np.int64)
        site = np.full(4, COORDINATE)
        site[self._site_columns[0]] = ELEMENT
        kinds[first_site : first_site + 4 * n_sites] = np.tile(site, n_sites)
        kinds[first_lattice : first_lattice + 6] = LATTICE_PARAMETER
        kinds[first_site + 4 * n_sites] = site[0]
        return kinds

    @property
    def _site_columns(self) -> list[int]:
        """Columns of species, x, y, z among the four tokens of a site."""
        return [0, 1, 2, 3] if self.inner == "species_first" else [3, 0, 1, 2]

    def _places(self, n_sites: int) -> tuple[int, int]:
        """Positions of the first lattice parameter and of the first site token."""
        if self.lattice == "first":
            return 2, 9
        return 2 + 4 * n_sites + 1, 2

    def _species_of(self, sites: Crystal) -> list[int]:
        if sites.oxidation is None:
            raise OutsideRange("the crystal has no oxidation states; assign them before encoding")
        pairs = zip(sites.numbers.tolist(), sites.oxidation.tolist(), strict=True)
        try:
            return [self._species_ids[pair] for pair in pairs]
        except KeyError as error:
            number, state = error.args[0]
            raise OutsideRange(
                f"no token for atomic number {number} in oxidation state {state:+d}"
            ) from None

    def _check_shape(self, lattice: NDArray[np.int64]) -> None:
        angles = self.bins.parameters(lattice)[3:]
        shape = squared_shape(*np.cos(np.radians(angles)))
        if shape < MINIMUM_SQUARED_SHAPE:
            told = ", ".join(f"{angle:g}" for angle in angles)
            raise OutsideRange(f"angles {told} make a flat cell or none")
