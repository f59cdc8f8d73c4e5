"""A shortlist as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matgen.atomic import write_json, write_text
from matgen.crystal.composition import reduced_formula
from matgen.io.writing import cif_text, symmetrized, write_samples
from matgen.records import Sample
from matgen.shortlist.ranking import Entry

CRYSTALS = "crystals.extxyz"
"""Relaxed crystals in the order of the list; what ``matgen dft write`` takes."""


def write_shortlist(
    folder: Path,
    entries: Sequence[Entry],
    *,
    about: dict[str, Any],  # JSON values
    imaginary_thz: float,
    symprec: float,
) -> None:
    """Write shortlist.json, shortlist.csv, crystals.extxyz and a CIF per crystal.

    Args:
        folder: Is made; what an earlier call wrote there is replaced.
        entries: In order.
        about: How the list came about.
        imaginary_thz: As for ``Vibrations.verdict``.
        symprec: Tolerance of the symmetrised CIFs, Å.
    """
    rows = [
        entry.to_json(rank, imaginary_thz=imaginary_thz) for rank, entry in enumerate(entries, 1)
    ]
    write_json(folder / "shortlist.json", {**about, "crystals": rows})
    text = io.StringIO()
    columns = list(rows[0]) if rows else ["rank", "index", "formula"]
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows({**row, "merged": " ".join(map(str, row["merged"]))} for row in rows)
    write_text(folder / "shortlist.csv", text.getvalue())
    samples = [Sample(rank, entry.candidate.crystal) for rank, entry in enumerate(entries, 1)]
    write_samples(folder / CRYSTALS, samples, asked=len(samples))
    cifs = folder / "cifs"
    cifs.mkdir(exist_ok=True)
    for old in cifs.glob("*.cif"):
        old.unlink()
    for rank, entry in enumerate(entries, 1):
        crystal = symmetrized(entry.candidate.crystal.with_oxidation(None), symprec)
        name = f"{rank:03d}-{reduced_formula(crystal)}.cif"
        write_text(cifs / name, cif_text(crystal, symprec=symprec))
