"""Baseline: prototypes of crystal structures with random elements, charges balanced."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from matgen import Crystal, Generator, GeneratorSession, Record, elements
from matgen.errors import BadCrystal, BadOptions
from matgen_baselines.volumes import AtomicVolumes, at_volume


class RandomPrototypes(Generator):
    """Random occupation of the prototypes of the AFLOW encyclopedia.

    A prototype is drawn at random, then elements for its kinds of sites, again and again until some
    choice of their usual oxidation states adds up to 0. The cell is scaled to the volumes of the
    elements.

    Source: Szymanski and Bartel, Mater. Horiz. 2025 (arXiv:2501.02144); the prototypes of AFLOW
    come with pymatgen (Mehl et al. 2017, Hicks et al. 2019).
    Deviates: elements are those of the dataset, their usual states those that the ICSD has often
    enough; cells are AFLOW's own, scaled to volumes that were fitted to the dataset, where the
    authors start from crystals of the Materials Project with these prototypes.
    """

    name = "random_prototypes"
    cites = (
        "Szymanski and Bartel, Mater. Horiz. (2025), arXiv:2501.02144",
        "Mehl et al., Comput. Mater. Sci. 136, S1 (2017)",
        "Hicks et al., Comput. Mater. Sci. 161, S1 (2019)",
    )

    max_sites: int = Field(default=20, ge=2)
    """Prototypes have at most so many sites in the cell."""
    min_elements: int = Field(default=3, ge=2)
    """Prototypes have at least so many elements; the authors make ternaries and beyond."""
    least_state_share: float = Field(default=0.05, gt=0, le=1)
    """An oxidation state is usual if it makes up at least this share of the element's in the
    ICSD."""
    tries: int = Field(default=500, ge=1)
    """Choices of elements tried in one prototype."""
    prototype_tries: int = Field(default=20, ge=1)
    """Prototypes tried for one sample."""

    def open(self, known: Sequence[Record]) -> GeneratorSession:
        """Return a session.

        Raises:
            BadOptions: no prototype is so small, or too few elements are known.
        """
        return _Session(self, known)


class _Session(GeneratorSession):
    def __init__(self, settings: RandomPrototypes, known: Sequence[Record]) -> None:
        self._settings = settings
        self._volumes = AtomicVolumes(known)
        self._prototypes = [
            crystal
            for crystal in prototypes()
            if crystal.n_sites <= settings.max_sites
            and len(np.unique(crystal.numbers)) >= settings.min_elements
        ]
        if not self._prototypes:
            raise BadOptions(
                f"no prototype has at most {settings.max_sites} sites and at least "
                f"{settings.min_elements} elements"
            )
        self._states = {
            z: usual_states(z, settings.least_state_share)
            for z in np.flatnonzero(~np.isnan(self._volumes.per_element)).tolist()
        }
        self._pool = [z for z, states in self._states.items() if states]
        self._most = max(len(np.unique(crystal.numbers)) for crystal in self._prototypes)
        if len(self._pool) < self._most:
            raise BadOptions(
                f"the known crystals hold {len(self._pool)} elements with oxidation states; "
                f"prototypes of {self._most} need at least as many"
            )

    def draw(self, rng: np.random.Generator) -> Crystal:
        """Return an occupied prototype.

        Raises:
            BadCrystal: no choice of elements within the tries was neutral.
        """
        for _ in range(self._settings.prototype_tries):
            prototype = self._prototypes[rng.integers(len(self._prototypes))]
            found = self._neutral(prototype, rng)
            if found is not None:
                return self._occupied(prototype, *found)
        raise BadCrystal(
            f"in none of {self._settings.prototype_tries} prototypes was any of "
            f"{self._settings.tries} random choices of elements neutral"
        )

    def _neutral(
        self, prototype: Crystal, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Return elements and states of the sites that add up to 0, None within the tries."""
        kinds, counts = np.unique(prototype.numbers, return_counts=True)
        place = np.searchsorted(kinds, prototype.numbers)
        for _ in range(self._settings.tries):
            chosen = rng.choice(self._pool, size=len(kinds), replace=False)
            neutral = [
                states
                for states in product(*(self._states[z] for z in chosen.tolist()))
                if not (counts * states).sum()
            ]
            if neutral:
                states = np.array(neutral[rng.integers(len(neutral))], dtype=np.int64)
                return chosen[place].astype(np.int64), states[place]
        return None

    def _occupied(
        self, prototype: Crystal, numbers: NDArray[np.int64], oxidation: NDArray[np.int64]
    ) -> Crystal:
        occupied = Crystal(prototype.lattice, prototype.frac, numbers, oxidation)
        return at_volume(occupied, self._volumes.volume(numbers))


def usual_states(number: int, least_share: float) -> tuple[int, ...]:
    """Return the oxidation states other than 0 that an element has often enough."""
    weights = {
        state: weight
        for state, weight in zip(
            elements.oxidation_states[number], elements.oxidation_weights[number], strict=True
        )
        if state
    }
    total = sum(weights.values())
    return tuple(state for state, weight in weights.items() if weight >= least_share * total)


@cache
def prototypes() -> tuple[Crystal, ...]:
    """Return the prototypes of at least two elements, in the order of pymatgen's file."""
    from pymatgen.analysis.prototypes import (  # type: ignore[attr-defined]  # does not say so
        AFLOW_PROTOTYPE_LIBRARY,
    )

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for entry in AFLOW_PROTOTYPE_LIBRARY:
            try:
                crystal = Crystal.from_structure(entry["snl"].structure)
            except BadCrystal:
                continue  # partly occupied: a prototype of alloys, not of ordered crystals
            if len(np.unique(crystal.numbers)) > 1:
                found.append(crystal)
    return tuple(found)
