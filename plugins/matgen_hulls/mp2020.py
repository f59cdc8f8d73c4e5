"""The hull of Materials Project formation energies with MP2020 corrections.

A crystal's formation energy comes from the potential's total energy less elemental reference
energies that were fitted to that potential (``tools/fit_elemental_references.py``), so that a
constant bias per element cancels.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen.atomic import read_json
from matgen.elements import symbols
from matgen.errors import BadFile, BadOptions, OutsideHull
from matgen.records import Crystal
from matgen.roles.hull import Hull, HullReference

_DATA: Final = Path(__file__).parent / "data"
_PART: Final = re.compile(r"([A-Z][a-z]?)([0-9.]*)")
_WHOLE: Final = re.compile(r"(?:[A-Z][a-z]?[0-9.]*)+")
_COLUMNS: Final = ("composition", "formation_energy_per_atom")


class Mp2020(HullReference):
    """Formation energies of the Materials Project on the MP2020 correction scale.

    The shipped file holds the 43,989 entries whose licence allows it (CC BY 4.0). Against the
    whole Materials Project it puts crystals 18 meV/atom too low on average: say which hull was
    used whenever a share of stable crystals is quoted.
    """

    name = "mp2020"
    energy_scale = "mp2020"
    cites = (
        "Jain et al., APL Materials 1, 011002 (2013)",
        "Wang et al., Sci. Rep. 11, 15496 (2021)",
    )

    path: str = ""
    """Parquet file with the columns composition (a formula) and formation_energy_per_atom
    (eV/atom); empty for the shipped one."""

    def open(self, relaxer: str) -> FormationHull:
        """Load entries and the elemental references of a potential.

        Raises:
            BadOptions: no elemental references are fitted for this potential.
            BadFile: the file is missing or lacks a column.
        """
        path = Path(self.path).expanduser() if self.path else _DATA / "hull_mp2020.parquet"
        return FormationHull(_read_entries(path), _elemental_references(relaxer))


class FormationHull(Hull):
    """Formation energies of known phases and elemental references of one potential.

    The elements themselves are phases of formation energy zero, by definition of it.
    """

    def __init__(
        self, entries: list[tuple[dict[str, float], float]], references: dict[str, float]
    ) -> None:
        self._references = references
        self._by_system: dict[frozenset[str], list[tuple[dict[str, float], float]]] = defaultdict(
            list
        )
        for fractions, energy in entries:
            self._by_system[frozenset(fractions)].append((fractions, energy))
        self._elements = frozenset().union(*self._by_system)
        self._phases = lru_cache(maxsize=1024)(self._phases_of)

    def distance(self, crystal: Crystal, energy: float) -> float:
        """Return the energy above the hull, eV/atom; negative below it.

        Raises:
            OutsideHull: an element has no reference energy, or occurs in no entry.
        """
        counts = Counter(symbols[int(number)] for number in crystal.numbers)
        fractions = {symbol: n / crystal.n_sites for symbol, n in counts.items()}
        self._check(fractions)
        formation = energy / crystal.n_sites - sum(
            share * self._references[symbol] for symbol, share in fractions.items()
        )
        return formation - self.energy(fractions)

    def energy(self, fractions: dict[str, float]) -> float:
        """Return the hull's formation energy at a composition, eV/atom.

        The lowest mixture of phases with this composition: a linear program.

        Args:
            fractions: Element symbol to atomic fraction, summing to 1.

        Raises:
            OutsideHull: an element occurs in no entry.
        """
        from scipy.optimize import linprog

        self._check_elements(fractions)
        system = tuple(sorted(fractions))
        compositions, energies = self._phases(system)
        target = np.array([fractions[symbol] for symbol in system])
        found = linprog(energies, A_eq=compositions, b_eq=target, bounds=(0, None), method="highs")
        # The elements span every composition and energies are bounded: it has a solution.
        assert found.success, found.message
        return float(found.fun)

    def _check(self, fractions: dict[str, float]) -> None:
        self._check_elements(fractions)
        missing = sorted(set(fractions) - set(self._references))
        if missing:
            raise OutsideHull(
                f"{', '.join(missing)}: no elemental reference energy is fitted for this potential"
            )

    def _check_elements(self, fractions: dict[str, float]) -> None:
        missing = sorted(set(fractions) - self._elements)
        if missing:
            raise OutsideHull(f"{', '.join(missing)}: the hull reference has no entry with it")

    def _phases_of(
        self, system: tuple[str, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (elements, phases) compositions and (phases,) energies within a system."""
        phases = [({symbol: 1.0}, 0.0) for symbol in system]
        for known in self._systems_within(system):
            phases.extend(self._by_system[known])
        compositions = np.array(
            [[fractions.get(symbol, 0.0) for fractions, _ in phases] for symbol in system]
        )
        return compositions, np.array([energy for _, energy in phases])

    def _systems_within(self, elements: tuple[str, ...]) -> list[frozenset[str]]:
        if 2 ** len(elements) > len(self._by_system):
            whole = set(elements)
            return [system for system in self._by_system if system <= whole]
        subsets = (
            frozenset(subset)
            for size in range(1, len(elements) + 1)
            for subset in combinations(elements, size)
        )
        return [subset for subset in subsets if subset in self._by_system]


def _read_entries(path: Path) -> list[tuple[dict[str, float], float]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (OSError, pa.ArrowInvalid) as error:
        raise BadFile(f"cannot read the hull reference {path}: {error}") from None
    if set(table.column_names) != set(_COLUMNS):
        raise BadFile(f"{path} must have the columns {' and '.join(_COLUMNS)}")
    formulas, energies = (table.column(name).to_pylist() for name in _COLUMNS)
    entries = []
    for formula, energy in zip(formulas, energies, strict=True):
        if formula is None or energy is None or not math.isfinite(energy):
            raise BadFile(f"{path} holds an entry without formula or energy ({formula}, {energy})")
        entries.append((_fractions(formula, path), float(energy)))
    return entries


def _fractions(formula: str, path: Path) -> dict[str, float]:
    if not _WHOLE.fullmatch(formula):
        raise BadFile(f"{path} holds {formula!r}, which is no plain formula such as Ba2Cu3O7Y1")
    counts: dict[str, float] = defaultdict(float)
    for symbol, count in _PART.findall(formula):
        counts[symbol] += float(count or 1)
    total = sum(counts.values())
    return {symbol: count / total for symbol, count in counts.items()}


def _elemental_references(relaxer: str) -> dict[str, float]:
    fitted = read_json(_DATA / "elemental_references.json")["relaxers"]
    assert isinstance(fitted, dict)
    if relaxer not in fitted:
        raise BadOptions(
            f"no elemental references are fitted for the potential {relaxer!r}; the mp2020 hull "
            f"has them for {', '.join(sorted(fitted))}"
        )
    references: dict[str, float] = fitted[relaxer]["references_ev_per_atom"]
    return references
