"""The representation of the toy set: cubic cells with sites on a grid.

<start> COUNT_n (element x y z) × n <length> <end>: 4n + 4 tokens for n sites. COUNT_n is a prompt
token where ``n_sites`` is asked for; <length> is continuous and carries the lattice constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from matgen import Crystal, Grammar, Representation, Tokens, Vocabulary, elements
from matgen.errors import BadOptions, OutsideRange, Undecodable
from matgen.records import PropertyValue

if TYPE_CHECKING:
    from matgen import Ordering

SHORTEST_ANG, LONGEST_ANG = 2.0, 30.0
HEAVIEST: Final = 103
KIND_NAMES: Final = ("structure", "count", "element", "coordinate", "length")
STRUCTURE, COUNT, ELEMENT, COORDINATE, LENGTH = range(5)
START, END, CELL = range(3)
FIRST_COUNT: Final = 3

_OFF_GRID: Final = 1e-3
"""Fractional coordinates this close to a grid point are on it: files round to six digits or so."""
_OFF_CUBIC: Final = 1e-4
"""Largest relative deviation of lattice vectors from equal length and right angles."""


class Cubic(Representation):
    """Cubic cells: number of sites, each site's element and place on a grid, lattice constant."""

    name = "cubic"

    grid: Literal[4, 8] = 4
    """Points along each axis."""
    max_sites: int = Field(default=8, ge=1)
    """Largest cell; larger ones are outside the range."""

    @property
    def max_tokens(self) -> int:
        """4n + 4 at the largest n."""
        return 4 * self.max_sites + 4

    @property
    def first_element(self) -> int:
        """Id of hydrogen."""
        return FIRST_COUNT + self.max_sites

    @property
    def first_point(self) -> int:
        """Id of coordinate 0."""
        return self.first_element + HEAVIEST

    def vocabulary(self) -> Vocabulary:
        """Return specials, counts, elements by their symbols, grid points as fractions."""
        counts = [f"COUNT_{n}" for n in range(1, self.max_sites + 1)]
        symbols = [str(elements.symbols[number]) for number in range(1, HEAVIEST + 1)]
        points = [f"{k}/{self.grid}" for k in range(self.grid)]
        return Vocabulary(
            names=("<start>", "<end>", "<length>", *counts, *symbols, *points),
            kinds=(
                *("structure", "structure", "length"),
                *("count",) * len(counts),
                *("element",) * len(symbols),
                *("coordinate",) * len(points),
            ),
            start=START,
            end=END,
            continuous=(CELL,),
        )

    def grammar(self) -> Grammar:
        """Return the language as a table: a state per site still to write and token of a site."""
        import torch

        from matgen.generation.grammar import TableGrammar

        length = 2 + 4 * self.max_sites
        end, done = length + 1, length + 2
        following = torch.full((done + 1, self.first_point + self.grid), -1, dtype=torch.int64)
        kinds = torch.zeros(done + 1, dtype=torch.int64)
        following[0, START] = 1
        kinds[1] = COUNT
        for left in range(1, self.max_sites + 1):
            first = 2 + 4 * (self.max_sites - left)
            following[1, FIRST_COUNT + left - 1] = first
            following[first, self.first_element : self.first_point] = first + 1
            for place in range(first + 1, first + 4):
                following[place, self.first_point :] = place + 1
            kinds[first], kinds[first + 1 : first + 4] = ELEMENT, COORDINATE
        following[length, CELL] = end
        kinds[length] = LENGTH
        following[end, END] = done
        return TableGrammar(
            following,
            finished=torch.arange(done + 1) == done,
            kinds=kinds,
            kind_names=KIND_NAMES,
            bounds=torch.tensor([[SHORTEST_ANG, LONGEST_ANG]]).repeat(done + 1, 1),
        )

    def items(self, crystal: Crystal) -> Crystal:
        """Return the crystal with its sites on the grid.

        Raises:
            OutsideRange: not cubic, a site off the grid, too many sites, or too long a cell.
        """
        length = np.cbrt(crystal.volume)
        metric = crystal.lattice @ crystal.lattice.T / length**2
        if not np.abs(metric - np.eye(3)).max() <= _OFF_CUBIC:
            raise OutsideRange("the cell is not cubic")
        if not SHORTEST_ANG <= length <= LONGEST_ANG:
            raise OutsideRange(
                f"lattice constant {length:.4g} Å is outside {SHORTEST_ANG:g} to {LONGEST_ANG:g} Å"
            )
        if not 1 <= crystal.n_sites <= self.max_sites:
            raise OutsideRange(
                f"{crystal.n_sites} sites, the representation holds {self.max_sites}"
            )
        if crystal.numbers.max() > HEAVIEST:
            raise OutsideRange(f"no token for atomic number {crystal.numbers.max()}")
        points = np.round(crystal.frac * self.grid)
        off = np.abs(crystal.frac - points / self.grid).max()
        if off > _OFF_GRID:
            raise OutsideRange(f"a site lies {off:.3g} cells off the grid of 1/{self.grid}")
        return Crystal(
            crystal.lattice, points % self.grid / self.grid, crystal.numbers, crystal.oxidation
        )

    def encode(self, crystal: Crystal, ordering: Ordering, rng: np.random.Generator) -> Tokens:
        """Return the 4n + 4 tokens of a crystal.

        Raises:
            OutsideRange: as ``items``.
        """
        items = self.items(crystal)
        sites = items.take(ordering.permutation(items, rng))
        points = np.round(sites.frac * self.grid).astype(np.int64)
        written = np.column_stack(
            [self.first_element + sites.numbers - 1, self.first_point + points]
        )
        count = FIRST_COUNT + sites.n_sites - 1
        ids = np.array([START, count, *written.ravel(), CELL, END], dtype=np.int64)
        values = np.zeros(len(ids), dtype=np.float32)
        values[-2] = np.cbrt(crystal.volume)
        # Rounding to float32 may step over the edge of the range.
        values[-2] = np.clip(values[-2], SHORTEST_ANG, LONGEST_ANG)
        return Tokens(ids, values)

    def decode(self, tokens: Tokens) -> Crystal:
        """Return the crystal, sites as written, lattice vectors along the axes.

        Raises:
            Undecodable: no sentence, or a lattice constant out of range.
        """
        ids = tokens.ids
        n_sites, rest = divmod(len(ids) - 4, 4)
        if rest or not 1 <= n_sites <= self.max_sites:
            raise Undecodable(f"{len(ids)} tokens are not 4n + 4 for 1 to {self.max_sites} sites")
        frame = (START, FIRST_COUNT + n_sites - 1, CELL, END)
        if tuple(ids[[0, 1, -2, -1]]) != frame:
            raise Undecodable(f"the tokens around {n_sites} sites are not <start> COUNT … <end>")
        sites = ids[2:-2].reshape(n_sites, 4)
        numbers, points = sites[:, 0] - self.first_element + 1, sites[:, 1:] - self.first_point
        if numbers.min() < 1 or numbers.max() > HEAVIEST:
            raise Undecodable("a site does not begin with an element")
        if points.min() < 0 or points.max() >= self.grid:
            raise Undecodable("a coordinate is no point of the grid")
        length = np.nan if tokens.values is None else float(tokens.values[-2])
        if not SHORTEST_ANG <= length <= LONGEST_ANG:
            raise Undecodable(
                f"lattice constant {length:g} is outside {SHORTEST_ANG:g} to {LONGEST_ANG:g} Å"
            )
        return Crystal(length * np.eye(3), points / self.grid, numbers)

    @property
    def prompted(self) -> tuple[str, ...]:
        """The number of sites is a token of the language."""
        return ("n_sites",)

    def prompt(self, wanted: Mapping[str, PropertyValue]) -> Tokens:
        """Return <start>, and COUNT_n where ``n_sites`` is asked for.

        Raises:
            BadOptions: no cell of that many sites can be written.
        """
        ids = [START]
        if "n_sites" in wanted:
            n_sites = float(wanted["n_sites"])
            if not n_sites.is_integer() or not 1 <= n_sites <= self.max_sites:
                raise BadOptions(
                    f"n_sites={n_sites:g} cannot be written; give a whole number from 1 to "
                    f"{self.max_sites}"
                )
            ids.append(FIRST_COUNT + int(n_sites) - 1)
        return Tokens(np.array(ids, dtype=np.int64), np.zeros(len(ids), dtype=np.float32))

    def position_kinds(self, tokens: Tokens) -> NDArray[np.int64]:
        """Return structure, count, then element and coordinates of each site, length, structure."""
        n_sites = (len(tokens) - 4) // 4
        sites = [ELEMENT, COORDINATE, COORDINATE, COORDINATE] * n_sites
        return np.array([STRUCTURE, COUNT, *sites, LENGTH, STRUCTURE], dtype=np.int64)
