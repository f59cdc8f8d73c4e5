"""Ordering, conditions and constraint of the toy set."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgen import (
    Constraint,
    Crystal,
    Grammar,
    Representation,
    ScalarCondition,
    SortedOrdering,
)
from matgen.errors import BadOptions
from matgen.records import PropertyValue


class BySpecies(SortedOrdering):
    """Lightest element first; ties by x, y, z."""

    name = "by_species"

    def keys(self, crystal: Crystal) -> tuple[NDArray[np.generic], ...]:
        """Return (Z, x, y, z)."""
        return (crystal.numbers, *crystal.frac.T)


class NSites(ScalarCondition):
    """Number of sites in the cell; the representation of this set writes it as a prompt token."""

    name = "n_sites"
    unit = "sites"
    minimum = 1

    def parse(self, text: str) -> PropertyValue:
        """Return the whole number in ``text``.

        Raises:
            BadOptions: no whole number from 1 on.
        """
        if not re.fullmatch(r"\d+", text.strip()) or int(text) < 1:
            raise BadOptions(f"n_sites={text!r} is no whole number from 1 on")
        return float(text)

    def achieved(self, crystal: Crystal) -> PropertyValue:
        """Return the number of sites."""
        return float(crystal.n_sites)


class Spacing(ScalarCondition):
    """Cube root of the volume per site."""

    name = "spacing"
    unit = "A"
    minimum = 0.1
    maximum = 30.0

    def feature(self, value: Any) -> float:  # the role's signature; a float here
        """Return how far the spacing is from 2.8 Å, in halves of one: crystals give -1 to 2."""
        return (float(value) - 2.8) / 0.5

    def achieved(self, crystal: Crystal) -> PropertyValue:
        """Return the cube root of the volume per site, Å."""
        return float(np.cbrt(crystal.volume / crystal.n_sites))


class Only(Constraint):
    """Nothing but some elements."""

    name = "only"

    elements: tuple[str, ...] = ("Na", "Cl")
    """Symbols of the elements that may be written."""

    def bind(self, representation: Representation) -> Grammar:
        """Return a grammar of one state that forbids every other element token.

        Raises:
            BadOptions: the representation has no element tokens, or none for one of these.
        """
        import torch

        from matgen.generation.grammar import TableGrammar

        vocabulary = representation.vocabulary()
        found = {
            index: match.group()
            for index, (name, kind) in enumerate(
                zip(vocabulary.names, vocabulary.kinds, strict=True)
            )
            if kind == "element" and (match := re.search(r"[A-Z][a-z]?", name))
        }
        unknown = sorted(set(self.elements) - set(found.values()))
        if unknown or not self.elements:
            raise BadOptions(
                f"only: representation {representation.name!r} has no tokens for "
                f"{', '.join(unknown) or 'an empty list'}; give symbols such as Na, Cl"
            )
        following = torch.zeros((1, len(vocabulary)), dtype=torch.int64)
        following[0, [i for i, symbol in found.items() if symbol not in self.elements]] = -1
        return TableGrammar(
            following,
            finished=torch.zeros(1, dtype=torch.bool),
            kinds=torch.zeros(1, dtype=torch.int64),
            kind_names=("any",),
        )
