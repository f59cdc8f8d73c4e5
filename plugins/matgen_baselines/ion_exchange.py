"""Baseline: known compounds with their ions exchanged for likely others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from matgen import Crystal, Generator, GeneratorSession, Record
from matgen.crystal.composition import reduced_formula
from matgen.crystal.oxidation import OxidationAssigner
from matgen.errors import BadCrystal, BadOptions
from matgen_baselines.substitutions import Substitutions
from matgen_baselines.volumes import AtomicVolumes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from matgen_baselines.substitutions import Ion


class IonExchange(Generator):
    """Data-mined ion exchange in known stable compounds.

    A compound is drawn at random, then one of its exchanges by its probability: every ion keeps
    its place or is replaced by one that occurs in its place in other crystals, charges stay
    balanced, at least one element changes. The cell is scaled by the volumes of the elements.

    Source: Szymanski and Bartel, Mater. Horiz. 2025 (arXiv:2501.02144), with the substitution
    probabilities of Hautier et al. (2011).
    Deviates: parents have any number of elements (the authors: three to five) and oxidation states
    by composition (the authors: by bond valences); all ions may change at once, by the product of
    their probabilities (the authors exchange one, then take what pymatgen's Substitutor lists);
    volumes come from a fit to the dataset.
    """

    name = "ion_exchange"
    cites = (
        "Szymanski and Bartel, Mater. Horiz. (2025), arXiv:2501.02144",
        "Hautier et al., Inorg. Chem. 50, 656 (2011)",
    )

    max_above_hull_ev_per_atom: float = Field(default=0.0, ge=0)
    """Parents lie at most this far above the hull; where the dataset does not say, they are
    taken."""
    least_probability: float = Field(default=1e-3, gt=0, lt=1)
    """Exchanges whose probabilities multiply to less are left out, as in pymatgen's predictor."""
    unseen: bool = False
    """Only reduced formulas that the dataset does not have."""
    tries: int = Field(default=200, ge=1)
    """Parents tried for one sample."""

    def open(self, known: Sequence[Record]) -> GeneratorSession:
        """Return a session; oxidation states are assigned when a parent is first drawn.

        Raises:
            BadOptions: no crystal is so close to the hull.
        """
        return _Session(self, known)


class _Session(GeneratorSession):
    def __init__(self, settings: IonExchange, known: Sequence[Record]) -> None:
        self._settings = settings
        self._volumes = AtomicVolumes(known)
        self._substitutions = Substitutions(settings.least_probability)
        self._assigner = OxidationAssigner()
        self._parents = [
            record.crystal
            for record in known
            if _above_hull(record) <= settings.max_above_hull_ev_per_atom
        ]
        if not self._parents:
            raise BadOptions(
                "no known crystal has an energy above the hull of at most "
                f"{settings.max_above_hull_ev_per_atom:g} eV/atom; raise "
                "--set generator.max_above_hull_ev_per_atom"
            )
        self._seen = {reduced_formula(r.crystal) for r in known} if settings.unseen else set()

    def draw(self, rng: np.random.Generator) -> Crystal:
        """Return a parent with other ions.

        Raises:
            BadCrystal: no parent within the tries had an exchange; says what was wrong with most.
        """
        reasons: Counter[str] = Counter()
        for _ in range(self._settings.tries):
            parent = self._parents[rng.integers(len(self._parents))]
            child, reason = self._exchanged(parent, rng)
            if child is not None:
                return child
            reasons[reason] += 1
        [(reason, count)] = reasons.most_common(1)
        raise BadCrystal(f"no exchange in {self._settings.tries} compounds: {count} {reason}")

    def _exchanged(self, parent: Crystal, rng: np.random.Generator) -> tuple[Crystal | None, str]:
        """Return a child, or None and why there is none."""
        states = parent.oxidation
        if states is None:
            states = self._assigner.assign(parent).oxidation
        if not states.any():
            return None, "have no oxidation states"
        ions = _ions(parent, states)
        counts = tuple(sorted(Counter(ions).items()))
        if not all(self._substitutions.knows(ion) for ion, _ in counts):
            return None, "have an ion that the table of substitutions lacks"
        exchange = self._substitutions.exchanges(counts)
        if not exchange.ions:
            return None, "have no neutral exchange that is likely enough"
        chosen = exchange.ions[rng.choice(len(exchange.ions), p=exchange.chances)]
        new_of = {old: new for (old, _), new in zip(counts, chosen, strict=True)}
        numbers, oxidation = np.array([new_of[ion] for ion in ions], dtype=np.int64).T
        if np.isnan(self._volumes.volume(np.concatenate([numbers, parent.numbers]))):
            return None, "have or get an element of unknown volume"
        child = self._volumes.occupied(parent, numbers, oxidation)
        if self._seen and reduced_formula(child) in self._seen:
            return None, "become a formula of the dataset"
        return child, ""


def _above_hull(record: Record) -> float:
    value = record.properties.get("energy_above_hull", 0.0)
    return float(value)


def _ions(crystal: Crystal, states: NDArray[np.int64]) -> list[Ion]:
    return list(zip(crystal.numbers.tolist(), states.tolist(), strict=True))
