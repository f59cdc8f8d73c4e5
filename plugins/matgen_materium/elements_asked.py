"""Conditions on what a crystal is made of: its reduced formula, its chemical system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgen import Condition, Crystal, elements
from matgen.crystal.composition import (
    chemical_system,
    parse_formula,
    reduced_formula,
)
from matgen.errors import BadCrystal, BadOptions

if TYPE_CHECKING:
    from torch import nn

    from matgen.records import PropertyValue

HEAVIEST = 103
"""Largest atomic number that can be asked for; the species tokens end there too."""


class ReducedFormula(Condition):
    """Reduced formula, such as Ba2Cu3O7Y.

    Source: Materium, arXiv:2512.07486: (element embedding + stoichiometry embedding) of each
    element, added.
    """

    name = "reduced_formula"
    unit = "formula"
    cites = ("Materium, arXiv:2512.07486",)

    @property
    def feature_size(self) -> int:
        """One count per element."""
        return HEAVIEST

    def parse(self, text: str) -> PropertyValue:
        """Return the formula reduced and in standard order: LiFeO2 for Fe2Li2O4."""
        counts = parse_formula(text)
        return reduced_formula(np.repeat(list(counts), list(counts.values())))

    def feature(self, value: Any) -> Sequence[float]:  # the role's signature; a formula here
        """Return how many atoms of each element the reduced formula holds."""
        return _counts(parse_formula(value), "reduced_formula")

    def encoder(self, width: int) -> nn.Module:
        """Return the sum over elements of element and stoichiometry embeddings."""
        from matgen_materium.encoders import FormulaEncoder

        return FormulaEncoder(HEAVIEST, width)

    def conflict(self, value: PropertyValue, others: Mapping[str, PropertyValue]) -> str:
        """Compare with the elements and the number of sites asked for."""
        counts = parse_formula(str(value))
        system = str(others.get("chemical_system", ""))
        if system and ChemicalSystem().error(system, chemical_system(np.array(list(counts)))):
            return f"{value} is not in the chemical system {system}"
        n_atoms = sum(counts.values())
        n_sites = others.get("n_sites")
        if n_sites is not None and float(n_sites) % n_atoms:
            return f"{value} has {n_atoms} atoms, and {float(n_sites):g} sites hold no whole number"
        return ""

    def achieved(self, crystal: Crystal) -> str:
        """Return the reduced formula of the crystal."""
        return reduced_formula(crystal.numbers)


class ChemicalSystem(Condition):
    """The elements of a crystal: exactly these (Li-Fe-O) or none but these (Li,Fe,O).

    Training shows half of the crystals their exact system and the others an allowed set, which is
    their system and up to five elements that they do not contain.
    """

    name = "chemical_system"
    unit = "elements"

    @property
    def feature_size(self) -> int:
        """One flag per element, and one for "allowed" against "exactly"."""
        return HEAVIEST + 1

    def parse(self, text: str) -> PropertyValue:
        """Return the elements in alphabetical order, joined as they were: by - or by a comma."""
        separator = "," if "," in text else "-"
        symbols = sorted({symbol.strip() for symbol in text.split(separator)})
        _flags(symbols)
        return separator.join(symbols)

    def feature(self, value: Any) -> Sequence[float]:  # the role's signature; elements here
        """Return the flags."""
        allowed = "," in value
        return [*_flags(value.split("," if allowed else "-")), float(allowed)]

    def augment(
        self, features: NDArray[np.float32], keys: NDArray[np.uint64]
    ) -> NDArray[np.float32]:
        """Return half of the rows as allowed sets with elements added."""
        shown = features.copy()
        for row, key in enumerate(keys):
            rng = np.random.default_rng(int(key))
            if np.isnan(features[row, 0]) or rng.random() < 0.5:
                continue
            absent = np.flatnonzero(features[row, :HEAVIEST] == 0)
            shown[row, rng.choice(absent, size=rng.integers(0, 6), replace=False)] = 1.0
            shown[row, HEAVIEST] = 1.0
        return shown

    def encoder(self, width: int) -> nn.Module:
        """Return a linear layer over the flags."""
        from torch import nn

        return nn.Linear(HEAVIEST + 1, width)

    def achieved(self, crystal: Crystal) -> str:
        """Return the exact chemical system of the crystal."""
        return chemical_system(crystal.numbers)

    def conflict(self, value: PropertyValue, others: Mapping[str, PropertyValue]) -> str:
        """Compare with the number of sites asked for."""
        n_sites = others.get("n_sites")
        n_elements = 1 if "," in str(value) else len(str(value).split("-"))
        if n_sites is not None and float(n_sites) < n_elements:
            return f"{value} needs {n_elements} sites or more, not {float(n_sites):g}"
        return ""

    def error(self, requested: PropertyValue, achieved: PropertyValue) -> float:
        """Return 0 where the elements are as asked, exactly or within the allowed set."""
        found = set(str(achieved).split("-"))
        if "," in str(requested):
            return float(not found <= set(str(requested).split(",")))
        return float(found != set(str(requested).split("-")))


def _flags(symbols: Sequence[str]) -> list[float]:
    try:
        counts = {elements.atomic_number(symbol): 1 for symbol in symbols}
    except BadCrystal as error:
        raise BadOptions(f"chemical_system: {error}; write Li-Fe-O or Li,Fe,O") from None
    return _counts(counts, "chemical_system")


def _counts(counts: dict[int, int], asked: str) -> list[float]:
    flags = [0.0] * HEAVIEST
    for number, count in counts.items():
        if number > HEAVIEST:
            raise BadOptions(f"{asked}: {elements.symbols[number]} is heavier than the model knows")
        flags[number - 1] = float(count)
    return flags
