"""The bundled magnetic set: JARVIS-DFT crystals with their magnetisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from matgen import DatasetSource, Record
from matgen.io.crystal_table import CrystalTable
from matgen.records import LabelSource, PropertyValue, Skipped
from matgen.roles.dataset import Split
from matgen.units import CANONICAL_UNITS
from matgen_datasets.materials import DATA, file_digest, material_keys, numbers_column
from matgen_datasets.mp_le20 import FILE as MP_LE20
from matgen_datasets.mp_le20 import is_validation

FILE = DATA / "jarvis_magnetic.parquet"
PROPERTIES = ("magnetic_density", "band_gap")
_RULES = "1"
"""Raised whenever the choice or order of the rows change with the same files."""


class Jarvis(DatasetSource):
    """JARVIS-DFT (OptB88vdW, no U) with total magnetisation per volume; antiferromagnets read zero.

    Validation holds the rows that share reduced formula and space group, at a symprec of 0.01 or
    0.1 Å, with a validation material of ``mp_le20``: what one set trains on, the other never
    scores. Cells are as JARVIS has them.
    """

    name = "jarvis"
    cites = ("Choudhary et al., npj Comput. Mater. 6, 173 (2020)",)

    @property
    def units(self) -> Mapping[str, str]:
        """Units of magnetic density and gap; every row has both."""
        return {name: CANONICAL_UNITS[name] for name in PROPERTIES}

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """JARVIS-DFT."""
        return {name: (LabelSource(self.name, "OptB88vdW"),) for name in PROPERTIES}

    @property
    def licence(self) -> str:
        """As work of the National Institute of Standards and Technology."""
        return "public domain"

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split, in the order of the file; it has no bad entry."""
        del on_skip
        table = CrystalTable.read(FILE)
        validation = _shares_validation(table)
        columns = {name: numbers_column(table, name) for name in PROPERTIES}
        for row in np.flatnonzero(validation if split == "val" else ~validation).tolist():
            properties: dict[str, PropertyValue] = {
                name: float(column[row]) for name, column in columns.items()
            }
            yield Record(table.ids[row], table.crystal(row), properties)

    def fingerprint(self) -> str:
        """Return a digest of the file and of the one that the split is taken from."""
        return f"jarvis-{_RULES}-{file_digest(FILE, MP_LE20)}"


def _shares_validation(table: CrystalTable) -> NDArray[np.bool_]:
    reference = CrystalTable.read(MP_LE20)
    reference_keys = material_keys(reference, numbers_column(reference, "space_group"))
    held_out = {reference_keys[row] for row in np.flatnonzero(is_validation(reference))}
    shares = np.zeros(len(table), dtype=np.bool_)
    for name in ("space_group", "space_group_loose"):
        keys = material_keys(table, numbers_column(table, name))
        shares |= np.array([key in held_out for key in keys])
    return shares
