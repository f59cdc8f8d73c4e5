"""All of JARVIS-DFT's three-dimensional materials, as NIST publishes them on figshare."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from matgen import FetchedDataset, Record
from matgen.crystal.arrays import crystal_of_arrays
from matgen.crystal.composition import reduced_formula
from matgen.elements import atomic_number
from matgen.errors import BadCrystal, CrystalError
from matgen.io.crystal_table import CrystalTable
from matgen.io.download import RemoteFile, download
from matgen.records import Crystal, LabelSource, PropertyValue, Skipped, SkippedKind
from matgen.roles.dataset import FetchObserver, Split
from matgen_datasets.cif_rows import READING_ERRORS
from matgen_datasets.mp_le20 import FILE as MP_LE20
from matgen_datasets.mp_le20 import is_validation

ARCHIVE = RemoteFile(
    "https://ndownloader.figshare.com/files/38521619",
    "jdft_3d-12-12-2022.json.zip",
    sha256="d4c64660e9e1fa45c82bd8868a96ec10162195eed69636445972c05550d8d0d6",
    n_bytes=40_811_489,
)
"""Source: get_db_info of usnistgov/jarvis, jarvis/db/figshare.py; doi:10.6084/m9.figshare.6815699,
version 11."""
NUMBERS = {
    "optb88vdw_bandgap": ("band_gap", "eV"),
    "mbj_bandgap": ("mbj_band_gap", "eV"),
    "formation_energy_peratom": ("formation_energy_per_atom", "eV/atom"),
    "ehull": ("energy_above_hull", "eV/atom"),
    "bulk_modulus_kv": ("bulk_modulus", "GPa"),
    "shear_modulus_gv": ("shear_modulus", "GPa"),
    "spg_number": ("space_group", "number"),
}
"""JARVIS' key to property and unit; a missing value is the text ``na``."""
MOMENT = "magmom_oszicar"
"""Total moment of the cell, μB."""
_READ_CHARACTERS = 1 << 22


class JarvisDft3d(FetchedDataset):
    """JARVIS-DFT, December 2022: 75,993 materials, OptB88vdW without U.

    Validation holds every material whose reduced formula a validation material of ``mp_le20`` has:
    what one set trains on, the other never scores. That is stricter than the rule of the bundled
    ``jarvis``, which compares space groups too, and needs no symmetry of 76,000 crystals. Test
    materials of MP-20 are not known here and may be among them.
    """

    name = "jarvis_dft_3d"
    cites = ("Choudhary et al., npj Comput. Mater. 6, 173 (2020)",)
    # Raised also when the validation materials of mp_le20 change, which decide the split.
    rules = "1"

    @property
    def licence(self) -> str:
        """As NIST gives its data."""
        return "public domain"

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the properties; any may be missing."""
        return {**dict(NUMBERS.values()), "magnetic_density": "muB/A3"}

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """OptB88vdW but for the gaps of the modified Becke-Johnson potential."""
        return {
            title: (LabelSource(self.name, "TBmBJ" if title.startswith("mbj") else "OptB88vdW"),)
            for title in self.units
        }

    def fetch(self, folder: Path, *, observer: FetchObserver, api_key: str = "") -> None:
        """Download the archive if it is not there and whole."""
        del api_key
        download(ARCHIVE, folder, observer=observer)

    def files(self, folder: Path) -> Sequence[Path]:
        """Return the archive."""
        return [folder / ARCHIVE.name]

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split in the order of the archive."""
        path = self.fetched_folder() / ARCHIVE.name
        held_out = _validation_formulas()
        seen: set[str] = set()
        for number, entry in enumerate(self._entries(path)):
            name = str(entry.get("jid", ""))
            kind: SkippedKind = "same id" if name in seen else "unreadable"
            try:
                if not name or name in seen:
                    raise BadCrystal(f"the jid {name!r} is used twice" if name else "no jid")
                crystal = _crystal(entry.get("atoms"))
            except CrystalError as error:
                place = f"{path.name}#{number}"
                if on_skip is None:
                    raise BadCrystal(f"{place} ({name}): {error}") from None
                on_skip(Skipped(place, f"{name}: {error}", kind, name))
                continue
            seen.add(name)
            if (reduced_formula(crystal) in held_out) == (split == "val"):
                yield Record(name, crystal, _properties(entry, crystal))

    def _entries(self, path: Path) -> Iterator[dict[str, Any]]:  # JSON values
        """Yield the entries of the one list in the archive, a few at a time in memory."""
        try:
            with zipfile.ZipFile(path) as archive:
                members = [n for n in archive.namelist() if n.endswith(".json")]
                if len(members) != 1:
                    raise self.damaged(path, f"it holds {len(members)} JSON files, not one")
                with archive.open(members[0]) as file:
                    yield from _listed(file)
        except (*READING_ERRORS, json.JSONDecodeError) as error:
            raise self.damaged(path, f"it cannot be read to its end ({error})") from None


def _listed(file: IO[bytes]) -> Iterator[dict[str, Any]]:  # JSON values
    """Yield the objects of a JSON list without holding the whole list.

    Raises:
        json.JSONDecodeError: no list of objects, or cut short.
    """
    import codecs

    reader = codecs.getreader("utf-8")(file)
    decode = json.JSONDecoder().raw_decode
    text, at, is_open = "", 0, True
    more = reader.read(_READ_CHARACTERS)
    while True:
        text, at = text[at:].lstrip("[, \r\n\t") + more, 0
        more = reader.read(_READ_CHARACTERS)
        while True:
            while at < len(text) and text[at] in "[, \r\n\t":
                at += 1
            if at < len(text) and text[at] == "]":
                is_open = False
                break
            try:
                value, at = decode(text, at)
            except json.JSONDecodeError:
                if not more:
                    raise
                break
            if not isinstance(value, dict):
                raise json.JSONDecodeError("an entry is no object", text, at)
            yield value
        if not is_open or not more:
            break
    if is_open:
        raise json.JSONDecodeError("the list never ends", text, at)
    # Read on to the end, where the archive compares its checksum.
    while file.read(_READ_CHARACTERS):
        pass


def _crystal(atoms: Any) -> Crystal:  # what JSON holds under "atoms"
    """Return the crystal of jarvis-tools' ``Atoms`` as a dict.

    Raises:
        BadCrystal: no such dict, or arrays that do not fit.
    """
    try:
        lattice = np.array(atoms["lattice_mat"], dtype=np.float64)
        coordinates = np.array(atoms["coords"], dtype=np.float64)
        numbers = np.array([atomic_number(s.strip()) for s in atoms["elements"]], dtype=np.int64)
        cartesian = bool(atoms["cartesian"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadCrystal(f"its atoms cannot be read ({error})") from None
    given: Literal["fractional", "cartesian"] = "cartesian" if cartesian else "fractional"
    return crystal_of_arrays(lattice, coordinates, numbers, given=given)


def _properties(entry: Mapping[str, Any], crystal: Crystal) -> dict[str, PropertyValue]:
    values: dict[str, PropertyValue] = {}
    for key, (title, _) in NUMBERS.items():
        value = _number(entry.get(key))
        if value is not None:
            values[title] = value
    moment = _number(entry.get(MOMENT))
    if moment is not None:
        values["magnetic_density"] = abs(moment) / crystal.volume
    return values


def _number(value: Any) -> float | None:  # a number, a number as text, or "na"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


@lru_cache(maxsize=1)
def _validation_formulas() -> frozenset[str]:
    table = CrystalTable.read(MP_LE20)
    rows = np.flatnonzero(is_validation(table)).tolist()
    return frozenset(reduced_formula(table.crystal(row)) for row in rows)
