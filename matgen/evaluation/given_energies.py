"""Relaxed crystals and energies that were made elsewhere, matched to samples by index.

Three forms: crystals with an energy each (extended XYZ and the like, as ``relaxed.extxyz`` of an
earlier evaluation), a table (csv, Parquet) of energies, or a numpy array of total energies in the
order of the samples. What can be compared is compared: an entry of another composition than its
sample is refused, for then the orders differ and every figure would be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from matgen.crystal.composition import parse_formula, reduced_formula
from matgen.errors import BadFile, BadOptions
from matgen.io.sources import entries
from matgen.records import Crystal, Relaxation, Sample

_TOTAL: Final = ("total_energy_ev", "total_energy", "energy")
"""Names of the total energy of the cell, eV; the first that is there is taken."""
_PER_ATOM: Final = ("energy_per_atom", "energy_per_atom_ev")
_TABLES: Final = {".csv", ".parquet"}


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    where: str
    energy: float | None
    per_atom: float | None
    crystal: Crystal | None
    formula: str
    converged: bool


@dataclass(frozen=True)
class GivenEnergies:
    """A file of energies.

    Attributes:
        path: See the module.
    """

    path: Path

    def relaxations(self, samples: Sequence[Sample]) -> list[Relaxation]:
        """Return one relaxation per sample; samples without an entry have none, with a reason.

        A table or array gives energies of the geometries as sampled.

        Args:
            samples: In the order asked for.

        Raises:
            BadFile: unreadable, without energies, or two entries for one sample.
            BadOptions: an entry belongs to no sample, or is of another composition than it.
        """
        by_index = {sample.index: position for position, sample in enumerate(samples)}
        found: dict[int, Relaxation] = {}
        for row in self._rows(samples):
            position = by_index.get(row.index)
            if position is None:
                raise BadOptions(f"{row.where} has index {row.index}, and there is no such sample")
            if position in found:
                raise BadFile(f"{row.where} is the second entry for sample {row.index}")
            found[position] = self._relaxation(row, samples[position])
        missing = Relaxation(None, error=f"no energy in {self.path.name}")
        return [
            found.get(position, missing)
            if sample.crystal is not None
            else Relaxation(None, error=sample.error or "no crystal was sampled")
            for position, sample in enumerate(samples)
        ]

    def _relaxation(self, row: _Row, sample: Sample) -> Relaxation:
        sampled = sample.crystal
        if sampled is None:
            return Relaxation(None, error=sample.error or "no crystal was sampled")
        crystal = row.crystal or sampled
        _check_composition(row, sampled)
        energy = row.energy
        if energy is None and row.per_atom is not None:
            energy = row.per_atom * crystal.n_sites
        if energy is None or not math.isfinite(energy):
            return Relaxation(None, error=f"no finite energy in {self.path.name}")
        return Relaxation(crystal, energy=energy, converged=row.converged)

    def _rows(self, samples: Sequence[Sample]) -> Iterator[_Row]:
        if not self.path.exists():
            raise BadFile(f"no such file of energies: {self.path}")
        if self.path.suffix == ".npy":
            yield from self._of_array(samples)
        elif self.path.suffix in _TABLES and not self._has_crystals():
            yield from self._of_table()
        else:
            yield from self._of_crystals()

    def _of_array(self, samples: Sequence[Sample]) -> Iterator[_Row]:
        try:
            energies = np.load(self.path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BadFile(f"cannot read the energies {self.path}: {error}") from None
        if energies.shape != (len(samples),):
            raise BadOptions(
                f"{self.path} holds an array of shape {energies.shape}; expected one total energy "
                f"for each of the {len(samples)} samples"
            )
        for position, sample in enumerate(samples):
            where = f"{self.path}[{position}]"
            energy = float(energies[position])
            yield _Row(sample.index, where, energy, None, None, "", converged=True)

    def _of_table(self) -> Iterator[_Row]:
        rows = self._table()
        if rows and not any(name in rows[0] for name in (*_TOTAL, *_PER_ATOM)):
            known = ", ".join((*_TOTAL, *_PER_ATOM))
            raise BadFile(f"{self.path} has no column of energies; expected one of {known}")
        for position, row in enumerate(rows):
            yield _row(row, position, f"{self.path}, row {position + 1}", None)

    def _of_crystals(self) -> Iterator[_Row]:
        position = 0
        for entry in entries(self.path):
            crystal = entry.crystal or entry.overlapping
            if crystal is None and not entry.error:
                continue  # tells how many samples were asked for, and is none itself
            if crystal is not None:
                yield _row(entry.info, position, entry.source, crystal)
            elif "index" not in entry.info:
                raise BadFile(f"{entry.source}: {entry.error}; without it the order is not known")
            position += 1

    def _has_crystals(self) -> bool:
        names = self._columns()
        return "cif" in names or {"lattice", "numbers"} <= set(names)

    def _columns(self) -> list[str]:
        import pyarrow as pa
        import pyarrow.csv as pa_csv
        import pyarrow.parquet as pq

        try:
            if self.path.suffix == ".csv":
                return list(pa_csv.open_csv(self.path).schema.names)
            return list(pq.read_schema(self.path).names)
        except (OSError, pa.ArrowInvalid) as error:
            raise BadFile(f"cannot read the energies {self.path}: {error}") from None

    def _table(self) -> list[dict[str, Any]]:  # cells of any type
        import pyarrow as pa
        import pyarrow.csv as pa_csv
        import pyarrow.parquet as pq

        try:
            if self.path.suffix == ".csv":
                rows: list[dict[str, Any]] = pa_csv.read_csv(self.path).to_pylist()
            else:
                rows = pq.read_table(self.path).to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise BadFile(f"cannot read the energies {self.path}: {error}") from None
        return rows


def _row(info: Mapping[str, Any], position: int, where: str, crystal: Crystal | None) -> _Row:
    index = _number(info.get("index"))
    converged = info.get("converged", True)
    return _Row(
        position if index is None else int(index),
        where,
        next((_number(info[name]) for name in _TOTAL if name in info), None),
        next((_number(info[name]) for name in _PER_ATOM if name in info), None),
        crystal,
        str(info.get("formula") or ""),
        converged=str(converged).lower() in {"true", "t", "1", "1.0"},
    )


def _check_composition(row: _Row, sampled: Crystal) -> None:
    own = reduced_formula(sampled)
    if row.crystal is not None:
        theirs = reduced_formula(row.crystal)
    elif row.formula:
        numbers = [z for z, count in parse_formula(row.formula).items() for _ in range(count)]
        theirs = reduced_formula(numbers)
    else:
        return
    if theirs != own:
        raise BadOptions(
            f"{row.where} is of {theirs}, but sample {row.index} is {own}: the energies are in "
            "another order than the samples"
        )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
