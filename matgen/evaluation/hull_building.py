"""A hull reference from a table of energies, from crystals and a potential, or from MatterGen's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from matgen.elements import symbols
from matgen.errors import BadFile, BadOptions, OutsideHull
from matgen.evaluation.energy_corrections import Scheme, corrected
from matgen.evaluation.energy_log import CrystalEnergy
from matgen.io.git_lfs import refuse_pointer
from matgen.io.hull_file import COMPOSITION, Fractions, HullFile, Kind, plain_formula
from matgen.records import Crystal

FORMULA_COLUMNS: Final = (COMPOSITION, "formula", "pretty_formula", "formula_pretty")
ENERGY_COLUMNS: Final[dict[str, Kind]] = {
    "energy_per_atom": "total",
    "formation_energy_per_atom": "formation",
    "formation_energy": "formation",
}


@dataclass(frozen=True)
class Row:
    """One energy of a source.

    Attributes:
        where: For messages.
        fractions: Atomic fractions of the elements.
        energy_ev_per_atom: NaN where the source has none.
    """

    where: str
    fractions: Fractions
    energy_ev_per_atom: float


@dataclass
class Assembled:
    """A reference, and what did not come into it.

    Attributes:
        file: The lowest energy of each composition.
        n_rows: Rows that were read.
        n_higher: Rows of a composition that has a lower one.
        n_without_energy: Rows without one.
        n_without_element: Compositions with an element that has no row of its own.
    """

    file: HullFile
    n_rows: int = 0
    n_higher: int = 0
    n_without_energy: int = 0
    n_without_element: int = 0
    elements_missing: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """The counts by name."""
        return {
            "rows": self.n_rows,
            "entries": len(self.file.entries),
            "higher_than_another": self.n_higher,
            "without_energy": self.n_without_energy,
            "without_element": self.n_without_element,
        }


def table_rows(
    path: Path, *, formula: str | None = None, energy: str | None = None
) -> tuple[Kind, Iterator[Row]]:
    """Return the rows of a Parquet or CSV file, and whether they are formation energies.

    Args:
        path: ``.parquet``, ``.csv`` or ``.csv.gz``.
        formula: Column of formulas; the first of the usual names where None.
        energy: Column of energies, eV/atom; its name says whether of formation.

    Raises:
        BadFile: not readable, without such columns, or with a formula that is none.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    refuse_pointer(path)
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    except (OSError, pa.ArrowException) as error:
        raise BadFile(f"cannot read {path} as a table: {error}") from None
    formula = _column(table.column_names, formula, FORMULA_COLUMNS, path, "--formula-column")
    energy = _column(table.column_names, energy, tuple(ENERGY_COLUMNS), path, "--energy-column")
    kind: Kind = "formation" if "formation" in energy else "total"
    formulas = table.column(formula).to_pylist()
    energies = table.column(energy).to_pylist()
    return kind, _of_table(path, formulas, energies)


def crystal_rows(
    crystals: Sequence[tuple[str, Crystal]], found: Iterable[CrystalEnergy], scheme: Scheme
) -> Iterator[Row]:
    """Yield a row for each crystal with the energy that a potential gave it, corrected."""
    for (name, crystal), one in zip(crystals, found, strict=True):
        energy = math.nan
        if one.energy_ev is not None:
            try:
                energy = corrected(crystal, one.energy_ev, scheme) / crystal.n_sites
            except OutsideHull:
                energy = math.nan
        counts = Counter(symbols[number] for number in crystal.numbers.tolist())
        fractions = {symbol: n / crystal.n_sites for symbol, n in counts.items()}
        yield Row(name, fractions, energy)


def assemble(
    rows: Iterable[Row],
    kind: Kind,
    note: dict[str, Any],
    *,
    leave_out: bool,  # JSON
) -> Assembled:
    """Return the reference that rows make: the lowest energy of each composition.

    Args:
        rows: In any order.
        kind: Totals need a row of each pure element; formation energies do not.
        note: Scale, corrections, potential, source and licence.
        leave_out: Leave out what has no energy or lacks a pure element, rather than refuse.

    Raises:
        BadFile: no rows; one without energy; an element without a row of its own.
    """
    lowest: dict[str, tuple[Fractions, float]] = {}
    made = Assembled(HullFile(kind, []))
    for row in rows:
        made.n_rows += 1
        if not math.isfinite(row.energy_ev_per_atom):
            made.n_without_energy += 1
            if not leave_out:
                raise BadFile(
                    f"{row.where} ({plain_formula(row.fractions)}) has no energy; mend it, or add "
                    "--leave-out to go on without such rows"
                )
            continue
        key = plain_formula(dict(sorted(row.fractions.items())))
        known = lowest.get(key)
        made.n_higher += known is not None
        if known is None or row.energy_ev_per_atom < known[1]:
            lowest[key] = (dict(sorted(row.fractions.items())), row.energy_ev_per_atom)
    entries = [lowest[key] for key in sorted(lowest)]
    if kind == "total":
        entries = _with_pure(entries, made, leave_out=leave_out)
    if not entries:
        raise BadFile(f"no entry is left of {made.n_rows} rows; a hull needs some")
    note = {**note, "counts": {**made.counts, "entries": len(entries)}}
    made.file = HullFile(kind, entries, note)
    return made


def _with_pure(
    entries: list[tuple[Fractions, float]], made: Assembled, *, leave_out: bool
) -> list[tuple[Fractions, float]]:
    pure = {next(iter(fractions)) for fractions, _ in entries if len(fractions) == 1}
    missing = sorted({symbol for fractions, _ in entries for symbol in fractions} - pure)
    if missing and not leave_out:
        raise BadFile(
            f"{', '.join(missing)}: no row is of the pure element, and without it no compound of "
            "it has a distance; add such rows, or add --leave-out to go on without its compounds"
        )
    kept = [entry for entry in entries if pure.issuperset(entry[0])]
    made.elements_missing = missing
    made.n_without_element = len(entries) - len(kept)
    return kept


def _of_table(path: Path, formulas: list[Any], energies: list[Any]) -> Iterator[Row]:
    from matgen.crystal.composition import parse_formula

    for number, (formula, energy) in enumerate(zip(formulas, energies, strict=True)):
        where = f"{path}, row {number}"
        try:
            counts = parse_formula(str(formula or "").replace(" ", ""))
        except BadOptions as error:
            raise BadFile(f"{where}: {error}") from None
        try:
            value = math.nan if energy is None else float(energy)
        except (TypeError, ValueError):
            raise BadFile(f"{where}: the energy {energy!r} is no number") from None
        total = sum(counts.values())
        yield Row(where, {symbols[number]: n / total for number, n in counts.items()}, value)


def _column(
    there: Sequence[str], asked: str | None, usual: Sequence[str], path: Path, option: str
) -> str:
    wanted = (asked,) if asked else usual
    for name in wanted:
        if name in there:
            return name
    raise BadFile(
        f"{path} has no column {' or '.join(wanted)}; it has {', '.join(there)}; name one with "
        f"{option}"
    )
