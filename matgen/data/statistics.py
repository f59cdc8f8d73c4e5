"""What is in a dataset: counts and distributions, gathered in one pass over its records.

Memory does not grow with the rows: a distribution keeps counts of values rounded to twelve binary
digits (1.2e-4 relative), which is finer than any bin that is drawn. Only distinct texts are all
kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.properties import density
from matgen.crystal.symmetry import space_group
from matgen.data.left_out import ToldOnce
from matgen.data.material_table import Observer, in_chunks
from matgen.elements import symbols
from matgen.errors import BadOptions
from matgen.records import Crystal, Record, Skipped, SkippedKind
from matgen.units import CANONICAL_UNITS

if TYPE_CHECKING:
    from matgen.roles.dataset import DatasetSource, Split
    from matgen.roles.executor import Pool

FORMAT = 1
_DIGITS: Final = 1 << 12
_QUANTILES: Final = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
_COMMON: Final = 20
"""Most frequent values of a text that a summary lists."""
CRYSTAL_SYSTEMS: Final = {
    "triclinic": 1,
    "monoclinic": 3,
    "orthorhombic": 16,
    "tetragonal": 75,
    "trigonal": 143,
    "hexagonal": 168,
    "cubic": 195,
}
"""Crystal system to its first space group."""


class Distribution:
    """The values of a number, counted; exact in count, mean, lowest and highest."""

    def __init__(self) -> None:
        self.n = 0
        self.lowest = math.inf
        self.highest = -math.inf
        self._sum = 0.0
        self._counts: Counter[float] = Counter()

    def add(self, values: NDArray[np.float64]) -> None:
        """Count (n,) finite values."""
        if not len(values):
            return
        self.n += len(values)
        self._sum += float(values.sum())
        self.lowest = min(self.lowest, float(values.min()))
        self.highest = max(self.highest, float(values.max()))
        mantissa, exponent = np.frexp(values)
        rounded, counts = np.unique(
            np.ldexp(np.round(mantissa * _DIGITS) / _DIGITS, exponent), return_counts=True
        )
        self._counts.update(dict(zip(rounded.tolist(), counts.tolist(), strict=True)))

    def merge(self, other: Distribution) -> None:
        """Count the values of another distribution too."""
        self.n += other.n
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)
        self._sum += other._sum
        self._counts.update(other._counts)

    @property
    def mean(self) -> float | None:
        """The mean, None of nothing."""
        return self._sum / self.n if self.n else None

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return (u,) values, ascending and rounded, and how often each came."""
        values = np.array(sorted(self._counts))
        return values, np.array([self._counts[value] for value in values.tolist()], dtype=np.int64)

    def quantile(self, share: float) -> float | None:
        """Return the smallest value with at least this share of all at or below it, rounded."""
        if not self.n:
            return None
        values, counts = self.points()
        return float(values[int(np.searchsorted(np.cumsum(counts), share * self.n - 1e-9))])

    def to_json(self) -> dict[str, object]:
        """Return the figures of a summary."""
        if not self.n:
            return {"n": 0}
        return {
            "n": self.n,
            "mean": self.mean,
            "lowest": self.lowest,
            "highest": self.highest,
            "quantiles": {f"{share:g}": self.quantile(share) for share in _QUANTILES},
        }


@dataclass
class PropertyStatistics:
    """The values of one property; from one label source, where it has several.

    Attributes:
        name: The property.
        source: Name of the label source; empty where the property has but one.
        shown: The same with its functional.
        unit: As the dataset states it.
        numbers: Values that are numbers.
        texts: Values that are texts, counted.
        not_finite: Values that are no finite number; they count as missing.
    """

    unit: str
    name: str
    source: str = ""
    shown: str = ""
    numbers: Distribution = field(default_factory=Distribution)
    texts: Counter[str] = field(default_factory=Counter)
    not_finite: int = 0

    @property
    def known(self) -> int:
        """Rows that have it."""
        return self.numbers.n + self.texts.total()


@dataclass
class Statistics:
    """Everything counted about some splits of a dataset.

    Attributes:
        elements: Atomic number to crystals that contain it.
        n_sites: Sites per cell.
        n_elements: Elements per crystal to crystals.
        space_groups: Number to crystals.
        computed_groups: Crystals whose space group was computed, at symprec 0.01 Å.
        no_group: Crystals for which none was found.
        lengths: Cell lengths a, b, c, Å.
        angles: Cell angles alpha, beta, gamma, degrees.
        left_out: Entries that never became records, by sort.
        first_left_out: The first of each sort, and why.
    """

    dataset: str
    splits: tuple[Split, ...]
    fingerprint: str
    n_crystals: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    elements: Counter[int] = field(default_factory=Counter)
    n_sites: Distribution = field(default_factory=Distribution)
    n_elements: Counter[int] = field(default_factory=Counter)
    space_groups: Counter[int] = field(default_factory=Counter)
    computed_groups: int = 0
    no_group: int = 0
    lengths: tuple[Distribution, ...] = field(
        default_factory=lambda: tuple(Distribution() for _ in "abc")
    )
    angles: tuple[Distribution, ...] = field(
        default_factory=lambda: tuple(Distribution() for _ in "abc")
    )
    density: Distribution = field(default_factory=Distribution)
    properties: dict[str, PropertyStatistics] = field(default_factory=dict)
    left_out: Counter[SkippedKind] = field(default_factory=Counter)
    first_left_out: dict[SkippedKind, str] = field(default_factory=dict)

    @property
    def skipped(self) -> int:
        """Entries that never became records."""
        return self.left_out.total()

    def to_json(self) -> dict[str, object]:
        """Return the summary."""
        named = zip(("a", "b", "c"), ("alpha", "beta", "gamma"), strict=True)
        cell = {
            key: values.to_json()
            for (length, angle), a, b in zip(named, self.lengths, self.angles, strict=True)
            for key, values in ((f"{length}_ang", a), (f"{angle}_deg", b))
        }
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "splits": list(self.splits),
            "fingerprint": self.fingerprint,
            "n_crystals": self.n_crystals,
            "counts": self.counts,
            "skipped": self.skipped,
            "left_out": dict(self.left_out),
            "elements": {symbols[z]: count for z, count in sorted(self.elements.items())},
            "n_elements": {str(n): count for n, count in sorted(self.n_elements.items())},
            "n_sites": self.n_sites.to_json(),
            "cell": dict(sorted(cell.items())),
            "density_g_per_cm3": self.density.to_json(),
            "space_groups": {
                "found": {str(n): count for n, count in sorted(self.space_groups.items())},
                "by_system": crystal_systems(self.space_groups),
                "computed_at_symprec_0.01": self.computed_groups,
                "none": self.no_group,
            },
            "properties": {
                name: self._property(values) for name, values in self.properties.items()
            },
        }

    def _property(self, values: PropertyStatistics) -> dict[str, object]:
        told: dict[str, object] = {
            "property": values.name,
            "source": values.source,
            "unit": values.unit,
            "known": values.known,
            "missing": self.n_crystals - values.known,
            "not_finite": values.not_finite,
        }
        if values.texts:
            told["distinct"] = len(values.texts)
            told["most_common"] = dict(values.texts.most_common(_COMMON))
        if values.numbers.n:
            told["numbers"] = values.numbers.to_json()
        return told


def crystal_system(number: int) -> str:
    """Return the crystal system of a space group."""
    return [name for name, first in CRYSTAL_SYSTEMS.items() if number >= first][-1]


def crystal_systems(space_groups: Counter[int]) -> dict[str, int]:
    """Return crystals by crystal system, from the least symmetric."""
    counted = dict.fromkeys(CRYSTAL_SYSTEMS, 0)
    for number, count in space_groups.items():
        counted[crystal_system(number)] += count
    return counted


def gather(
    dataset: DatasetSource, splits: Sequence[Split], pool: Pool, observer: Observer
) -> Statistics:
    """Return the statistics of some splits of a dataset.

    Space groups are the dataset's own; where it has none for a row, the workers find it.

    Raises:
        BadOptions: no such split.
    """
    for split in splits:
        if split not in dataset.splits:
            raise BadOptions(
                f"dataset {dataset.name!r} has no split {split!r}; it has "
                f"{', '.join(dataset.splits)}"
            )
    found = Statistics(dataset.name, tuple(splits), dataset.fingerprint())
    found.properties = _properties(dataset)
    # Only then is a column of that name the number of a space group.
    trusted = dataset.units.get("space_group") == CANONICAL_UNITS["space_group"]

    def without_group() -> Iterator[list[Crystal]]:
        for chunk in in_chunks(_records(dataset, splits, found)):
            lacking = _count(chunk, found, trusted=trusted)
            observer("crystals", found.n_crystals, None)
            if lacking:
                yield lacking

    for groups in pool.map(_space_groups, without_group()):
        found.computed_groups += len(groups) - groups.count(None)
        found.no_group += groups.count(None)
        found.space_groups.update(group for group in groups if group is not None)
    observer("crystals", found.n_crystals, found.n_crystals)
    return found


def _records(
    dataset: DatasetSource, splits: Sequence[Split], found: Statistics
) -> Iterator[Record]:
    def skip(skipped: Skipped) -> None:
        kind = skipped.kind
        found.left_out[kind] += 1
        found.first_left_out.setdefault(kind, f"{skipped.source}: {skipped.reason}")

    told = ToldOnce(skip)
    for split in splits:
        found.counts[split] = 0
        for record in dataset.records(split, on_skip=told.split()):
            found.counts[split] += 1
            yield record


def _properties(dataset: DatasetSource) -> dict[str, PropertyStatistics]:
    """Return nothing counted, for each property; values of two sources are two quantities."""
    found = {}
    for name, unit in dataset.units.items():
        sources = dataset.label_sources[name]
        if len(sources) < 2:
            found[name] = PropertyStatistics(unit, name)
            continue
        for source in sources:
            values = PropertyStatistics(unit, name, source.name, str(source))
            found[f"{name} from {source.name}"] = values
    return found


def _count(records: Sequence[Record], found: Statistics, *, trusted: bool) -> list[Crystal]:
    """Count some records; return the crystals without a space group of their own."""
    crystals = [record.crystal for record in records]
    found.n_crystals += len(records)
    for crystal in crystals:
        present = np.unique(crystal.numbers).tolist()
        found.elements.update(present)
        found.n_elements[len(present)] += 1
    found.n_sites.add(np.array([crystal.n_sites for crystal in crystals], dtype=np.float64))
    found.density.add(np.array([density(crystal) for crystal in crystals]))
    lengths, angles = _cells(np.array([crystal.lattice for crystal in crystals]))
    for axis in range(3):
        found.lengths[axis].add(lengths[:, axis])
        found.angles[axis].add(angles[:, axis])
    for values in found.properties.values():
        name, source = values.name, values.source
        given = [
            r.properties[name]
            for r in records
            if name in r.properties and (not source or r.sources.get(name) == source)
        ]
        numbers = np.array([v for v in given if not isinstance(v, str)], dtype=np.float64)
        values.numbers.add(numbers[np.isfinite(numbers)])
        values.not_finite += int((~np.isfinite(numbers)).sum())
        values.texts.update(v for v in given if isinstance(v, str))
    lacking = []
    for record in records:
        number = record.properties.get("space_group", 0) if trusted else 0
        if isinstance(number, float) and number in range(1, 231):
            found.space_groups[int(number)] += 1
        else:
            lacking.append(record.crystal)
    return lacking


def _cells(
    lattices_N33: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, 3) lengths, Å, and (N, 3) angles, degrees."""
    lengths = np.linalg.norm(lattices_N33, axis=2)
    unit = lattices_N33 / lengths[:, :, None]
    cosines = [np.einsum("nx,nx->n", unit[:, i], unit[:, j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    angles = np.degrees(np.arccos(np.clip(np.stack(cosines, axis=1), -1.0, 1.0)))
    return lengths, angles


def _space_groups(crystals: list[Crystal]) -> list[int | None]:
    return [space_group(crystal) for crystal in crystals]
