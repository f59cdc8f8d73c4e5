"""The bundled set: Materials Project crystals with at most 20 sites in the primitive cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matgen import DatasetSource, Record
from matgen.io.crystal_table import CrystalTable
from matgen.records import LabelSource, PropertyValue, Skipped
from matgen.roles.dataset import Split
from matgen.units import CANONICAL_UNITS
from matgen_datasets.materials import (
    DATA,
    file_digest,
    material_keys,
    numbers_column,
    texts_column,
)

FILE = DATA / "mp_le20.parquet"
STABLE_EV_PER_ATOM = 0.1
"""Largest energy above the hull of the rows ``stable``."""
LEGACY_EV_PER_ATOM = 0.15
"""Labels of source mp2019 are on another correction scale, tens of meV off: kept only above this,
where that matters little."""
PROPERTIES = ("band_gap", "energy_above_hull", "formation_energy_per_atom", "space_group")
FUNCTIONALS = {
    "band_gap": "PBE, PBE+U",
    "energy_above_hull": "PBE, PBE+U, MP2020-corrected",
    "formation_energy_per_atom": "PBE, PBE+U, MP2020-corrected",
    "space_group": "",
}
_RULES = "1"
"""Raised whenever the choice, labels or order of the rows change with the same file."""


class MpLe20(DatasetSource):
    """Materials Project, PBE, in canonical cells (symprec 0.01 Å).

    Validation is that of MP-20. Training leaves out every row that shares reduced formula and space
    group with a validation material. No row shares them with MP-20's test set, unless MP-20's own
    training set does.
    """

    name = "mp_le20"
    cites = (
        "Jain et al., APL Materials 1, 011002 (2013)",
        "Xie et al., Crystal Diffusion Variational Autoencoder, ICLR 2022 (MP-20)",
    )

    rows: Literal["stable", "all", "mp20"] = "stable"
    """``stable``: energy above the hull of at most 0.1 eV/atom. ``all``: whatever its energy, also
    unknown. ``mp20``: MP-20 and nothing else, to compare with what was trained on that."""

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the four properties; any may be missing."""
        return {name: CANONICAL_UNITS[name] for name in PROPERTIES}

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """The Materials Project; space groups are those of its crystals, found with spglib."""
        return {name: (LabelSource(self.name, FUNCTIONALS[name]),) for name in PROPERTIES}

    @property
    def licence(self) -> str:
        """As the Materials Project gives its data."""
        return "CC BY 4.0"

    @property
    def reduced(self) -> bool:
        """Every crystal is in its canonical cell."""
        return True

    def for_conditions(self, labels: frozenset[str]) -> MpLe20:
        """Return all rows for a model of the energy above the hull, unless rows were chosen."""
        if "energy_above_hull" in labels and "rows" not in self.model_fields_set:
            return MpLe20(rows="all")
        return self

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split, in the order of their ids; the file has no bad entry."""
        del on_skip
        table = CrystalTable.read(FILE)
        chosen = self._split(table, split)
        columns = {name: numbers_column(table, name) for name in PROPERTIES}
        columns["energy_above_hull"] = _labels(table)
        names = list(columns)
        values = np.stack([columns[name] for name in names], axis=1)
        known = ~np.isnan(values)
        for row in np.flatnonzero(chosen).tolist():
            properties: dict[str, PropertyValue] = {
                name: value
                for name, value, is_known in zip(
                    names, values[row].tolist(), known[row].tolist(), strict=True
                )
                if is_known
            }
            yield Record(table.ids[row], table.crystal(row), properties)

    def fingerprint(self) -> str:
        """Return a digest of the file and the rows chosen."""
        return f"mp_le20-{self.rows}-{_RULES}-{file_digest(FILE)}"

    def _split(self, table: CrystalTable, split: Split) -> NDArray[np.bool_]:
        """Return (R,) whether a row is in the split."""
        validation = is_validation(table)
        chosen = validation if split == "val" else ~shares_validation(table, validation)
        if self.rows == "mp20":
            chosen = chosen & is_mp20(table)
        if self.rows == "stable":
            # NaN, an unknown energy, compares as false.
            chosen = chosen & (numbers_column(table, "energy_above_hull") <= STABLE_EV_PER_ATOM)
        return chosen


def is_mp20(table: CrystalTable) -> NDArray[np.bool_]:
    """Return (R,) whether a row belongs to MP-20, training or validation."""
    return np.array([bool(split) for split in texts_column(table, "mp20_split")])


def is_validation(table: CrystalTable) -> NDArray[np.bool_]:
    """Return (R,) whether a row belongs to the validation set of MP-20."""
    return np.array([split == "val" for split in texts_column(table, "mp20_split")])


def shares_validation(table: CrystalTable, validation: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (R,) whether a row is, or is the same material as, a validation row."""
    keys = material_keys(table, numbers_column(table, "space_group"))
    held_out = {keys[row] for row in np.flatnonzero(validation)}
    return np.array([key in held_out for key in keys])


def _labels(table: CrystalTable) -> NDArray[np.float64]:
    """Return (R,) energies above the hull, NaN where they are on another scale near zero."""
    energies = numbers_column(table, "energy_above_hull").copy()
    legacy = np.array(
        [source == "mp2019" for source in texts_column(table, "energy_above_hull_source")]
    )
    energies[legacy & (energies <= LEGACY_EV_PER_ATOM)] = np.nan
    return energies
