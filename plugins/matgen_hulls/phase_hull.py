"""An opened hull: corrects raw energies, subtracts references, looks for the lowest mixture."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from matgen.elements import symbols
from matgen.errors import OutsideHull
from matgen.evaluation.energy_corrections import Scheme, corrected
from matgen.records import Crystal
from matgen.roles.hull import Calibration, Hull
from matgen_hulls.phases import Fractions, Phases


class PhaseHull(Hull):
    """Known phases, and how a potential's energies come onto their scale."""

    def __init__(
        self,
        phases: Phases,
        *,
        references: Mapping[str, float] | None = None,
        scheme: Scheme = "none",
        notes: Mapping[str, str | float] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Keep what is needed.

        Args:
            phases: Of formation energies where references are given, else of total energies.
            references: Energy of each element by this potential, eV/atom.
            scheme: What is added to the potential's energies first.
            notes: For the report.
            calibration: Of this potential on this hull.
        """
        self.phases = phases
        self.references = references
        self.scheme: Scheme = scheme
        self._notes = dict(notes or {})
        self._calibration = calibration

    def distance(self, crystal: Crystal, energy: float) -> float:
        """Return the energy above the hull, eV/atom; negative below it.

        Raises:
            OutsideHull: an element has no reference energy, occurs in no entry, or cannot be
                corrected.
        """
        fractions, on_scale = self._on_scale(crystal, energy)
        return on_scale - self.phases.energy(fractions)

    def decomposition(self, crystal: Crystal) -> Mapping[str, float]:
        """Return what a composition falls apart into: reduced formula to share of the atoms.

        Raises:
            OutsideHull: an element occurs in no entry of its own.
        """
        counts = Counter(symbols[int(number)] for number in crystal.numbers)
        self._refuse_unknown(counts)
        return self.phases.mixture({s: n / crystal.n_sites for s, n in counts.items()})

    def own_distances(
        self, crystals: Sequence[Crystal], energies: Sequence[float]
    ) -> list[float | None]:
        """Return how far crystals lie above the hull that they make themselves, eV/atom."""
        found: list[float | None] = [None] * len(crystals)
        systems: dict[frozenset[str], list[int]] = defaultdict(list)
        joining: dict[int, tuple[Fractions, float]] = {}
        for row, (crystal, energy) in enumerate(zip(crystals, energies, strict=True)):
            try:
                joining[row] = self._on_scale(crystal, energy)
            except OutsideHull:
                continue
            systems[frozenset(joining[row][0])].append(row)
        for rows in systems.values():
            distances = self.phases.distances_among([joining[row] for row in rows])
            for row, distance in zip(rows, distances, strict=True):
                found[row] = distance
        return found

    def notes(self) -> Mapping[str, str | float]:
        """Return which hull this is."""
        return self._notes

    def calibration(self) -> Calibration | None:
        """Return how good its distances are for this potential."""
        return self._calibration

    def _refuse_unknown(self, elements: Iterable[str]) -> None:
        missing = sorted(set(elements) - self.phases.pure)
        if missing:
            raise OutsideHull(
                f"{', '.join(missing)}: the hull reference has no entry of the pure element"
            )

    def _on_scale(self, crystal: Crystal, energy: float) -> tuple[Fractions, float]:
        """Return atomic fractions and the energy on the scale of the phases, eV/atom."""
        counts = Counter(symbols[int(number)] for number in crystal.numbers)
        fractions = {symbol: n / crystal.n_sites for symbol, n in counts.items()}
        self._refuse_unknown(counts)
        missing = sorted(set(fractions) - set(self.references or fractions))
        if missing:
            raise OutsideHull(
                f"{', '.join(missing)}: no elemental reference energy is fitted for this potential"
            )
        per_atom = corrected(crystal, energy, self.scheme) / crystal.n_sites
        if self.references is not None:
            per_atom -= sum(n * self.references[s] for s, n in counts.items()) / crystal.n_sites
        return fractions, per_atom
