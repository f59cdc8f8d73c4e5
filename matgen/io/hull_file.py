"""Files of reference energies: one composition and one energy per atom a row, and what they are.

Parquet with the columns ``composition`` (a plain formula such as Ba2Cu3O7Y1) and either
``energy_per_atom`` (totals) or ``formation_energy_per_atom``, eV. ``matgen hull build`` writes them
with a note of scale, corrections and origin in the file's metadata; a file of somebody else may
lack the note.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from matgen.atomic import replacing
from matgen.elements import symbols
from matgen.errors import BadFile
from matgen.io.git_lfs import refuse_pointer

Kind = Literal["total", "formation"]
COMPOSITION: Final = "composition"
COLUMNS: Final[dict[Kind, str]] = {
    "total": "energy_per_atom",
    "formation": "formation_energy_per_atom",
}
_NOTE: Final = b"matgen_hull"
_PART: Final = re.compile(r"([A-Z][a-z]?)([0-9.]*)")
_WHOLE: Final = re.compile(r"(?:[A-Z][a-z]?(?:[0-9]+(?:\.[0-9]*)?)?)+")
_KNOWN: Final = frozenset(symbols[1:])

Fractions = dict[str, float]
"""Element symbol to atomic fraction, summing to 1."""


@dataclass(frozen=True)
class HullFile:
    """Reference energies of compositions.

    Attributes:
        kind: Whether the energies are totals or formation energies.
        entries: Atomic fractions and energy, eV/atom.
        note: Scale, corrections, potential, source and licence; empty where the file has none.
    """

    kind: Kind
    entries: list[tuple[Fractions, float]]
    note: dict[str, Any] = field(default_factory=dict)  # JSON

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements that occur."""
        return frozenset(symbol for fractions, _ in self.entries for symbol in fractions)

    @property
    def pure(self) -> frozenset[str]:
        """Symbols of the elements that have an entry of their own."""
        return frozenset(next(iter(f)) for f, _ in self.entries if len(f) == 1)


def read_hull_file(path: Path, kind: Kind | None = None) -> HullFile:
    """Read a file of reference energies.

    Args:
        path: Parquet.
        kind: Which energies to take; None takes totals where there are both.

    Raises:
        BadFile: missing, no Parquet, without the columns, a formula that is none, an energy that is
            missing or not finite.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    refuse_pointer(path)
    try:
        schema = pq.read_schema(path)
        found = next((k for k in (kind,) if k), None) or _kind_of(schema.names, path)
        if not {COMPOSITION, COLUMNS[found]} <= set(schema.names):
            raise BadFile(f"{path} must have the columns {COMPOSITION} and {COLUMNS[found]}")
        table = pq.read_table(path, columns=[COMPOSITION, COLUMNS[found]])
    except (OSError, pa.ArrowException) as error:
        raise BadFile(f"cannot read the hull reference {path}: {error}") from None
    formulas, energies = (table.column(c).to_pylist() for c in (COMPOSITION, COLUMNS[found]))
    entries = []
    for row, (formula, energy) in enumerate(zip(formulas, energies, strict=True)):
        if formula is None or energy is None or not math.isfinite(energy):
            raise BadFile(
                f"{path}, row {row}: an entry without formula or energy ({formula}, {energy})"
            )
        entries.append((plain_fractions(formula, f"{path}, row {row}"), float(energy)))
    return HullFile(found, entries, note_of(path))


def note_of(path: Path) -> dict[str, Any]:  # JSON
    """Return what a file says of its energies, empty if nothing; reads only its end.

    Raises:
        BadFile: no Parquet, or a note that is damaged or of a newer matgen.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    refuse_pointer(path)
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise BadFile(f"cannot read the hull reference {path}: {error}") from None
    if _NOTE not in metadata:
        return {}
    try:
        note = json.loads(metadata[_NOTE])
    except ValueError as error:
        raise BadFile(f"{path}: its note is damaged ({error})") from None
    if not isinstance(note, dict) or note.get("format") != 1:
        raise BadFile(f"{path}: its note is of another format; a newer matgen may read it")
    return note


def write_hull_file(path: Path, file: HullFile) -> None:
    """Write reference energies with their note, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            COMPOSITION: [plain_formula(fractions) for fractions, _ in file.entries],
            COLUMNS[file.kind]: [energy for _, energy in file.entries],
        }
    )
    note = json.dumps({"format": 1, **file.note})
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata({_NOTE: note}), temporary, compression="zstd")


def plain_fractions(formula: str, where: str) -> Fractions:
    """Return atomic fractions of a formula without parentheses.

    Raises:
        BadFile: it is none; ``where`` begins the message.
    """
    parts = _PART.findall(formula) if _WHOLE.fullmatch(formula) else []
    unknown = sorted({symbol for symbol, _ in parts} - _KNOWN)
    if not parts or unknown:
        raise BadFile(f"{where}: {formula!r} is no plain formula such as Ba2Cu3O7Y1")
    counts: dict[str, float] = defaultdict(float)
    for symbol, count in parts:
        counts[symbol] += float(count or 1)
    total = sum(counts.values())
    if not total > 0:
        raise BadFile(f"{where}: {formula!r} holds no atoms")
    return {symbol: count / total for symbol, count in counts.items() if count}


def plain_formula(fractions: Fractions) -> str:
    """Return the formula of atomic fractions: whole numbers where some small ones fit."""
    for n in range(1, 1001):
        counts = [share * n for share in fractions.values()]
        if all(abs(count - round(count)) < 1e-6 for count in counts):
            return "".join(
                f"{symbol}{round(count)}" for symbol, count in zip(fractions, counts, strict=True)
            )
    return "".join(f"{symbol}{share:.9f}" for symbol, share in fractions.items())


def _kind_of(columns: list[str], path: Path) -> Kind:
    for kind, column in COLUMNS.items():
        if column in columns:
            return kind
    raise BadFile(f"{path} must have the columns {COMPOSITION} and {' or '.join(COLUMNS.values())}")
