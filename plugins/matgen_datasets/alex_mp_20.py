"""MatterGen's training set Alex-MP-20, from its download or from MatterGen's own cache.

The download is ``alex_mp_20.zip``, with ``alex_mp_20/train.csv`` and ``alex_mp_20/val.csv`` inside;
the same two files unpacked will do. The cache is what MatterGen's ``csv_to_dataset.py`` writes: for
each split a folder with ``pos.npy`` (T, 3), ``cell.npy`` (R, 3, 3), ``atomic_numbers.npy`` (T,),
``num_atoms.npy`` (R,), ``structure_id.npy`` (R,), and ``PROPERTY.json`` with a list of R ``values``
in it; R rows, T sites of all rows. Its cells are primitive and Niggli-reduced already.

``structure_id.npy`` is an array of fixed-width text or of integers, as numpy makes it of a list of
names; an array of objects, which only unpickling could read, is refused.

Source: microsoft/mattergen, data-release/alex-mp and mattergen/common/data/dataset.py.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from matgen import FetchedDataset, Record
from matgen.errors import BadCrystal, BadFile
from matgen.io.download import RemoteFile, download
from matgen.records import Crystal, LabelSource, PropertyValue, Skipped, SkippedKind
from matgen.roles.dataset import FetchObserver, Split
from matgen_datasets.cif_rows import READING_ERRORS, csv_rows, number_of, records_of

ARCHIVE = RemoteFile(
    # The file behind the git-LFS pointer that raw.githubusercontent.com would give.
    "https://media.githubusercontent.com/media/microsoft/mattergen/main/data-release/alex-mp/"
    "alex_mp_20.zip",
    "alex_mp_20.zip",
)
COLUMNS = {
    "energy_above_hull": ("energy_above_hull", "eV/atom"),
    "dft_band_gap": ("band_gap", "eV"),
    "dft_mag_density": ("magnetic_density", "muB/A3"),
    "dft_bulk_modulus": ("bulk_modulus", "GPa"),
    "ml_bulk_modulus": ("ml_bulk_modulus", "GPa"),
    "space_group": ("space_group", "number"),
}
"""MatterGen's name to property and unit. Its HHI score and chemical system are left out: every
crystal tells them itself."""
_ARRAYS = ("pos", "cell", "atomic_numbers", "num_atoms", "structure_id")
_SPLITS: tuple[Split, ...] = ("train", "val")


class AlexMp20(FetchedDataset):
    """Alex-MP-20: 675,204 crystals of Alexandria and MP-20, at most 20 sites a cell.

    PBE, with U as in the Materials Project; at most 0.1 eV/atom above the hull of both. Its split
    is the one MatterGen and Materium train on.
    """

    name = "alex_mp_20"
    cites = (
        "Zeni et al., Nature 639, 624 (2025)",
        "Schmidt et al., Materials Cloud Archive 2022.126 (2022)",
        "Jain et al., APL Materials 1, 011002 (2013)",
    )

    @property
    def licence(self) -> str:
        """As Alexandria and the Materials Project give their data."""
        return "CC BY 4.0"

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the properties; most gaps, moments and moduli are missing."""
        return dict(COLUMNS.values())

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """DFT but for one modulus, which a learned potential gave."""
        dft = LabelSource(self.name, "PBE/PBE+U")
        learned = LabelSource(self.name, "MatterSim")
        return {title: (learned if title.startswith("ml_") else dft,) for title in self.units}

    def fetch(self, folder: Path, *, observer: FetchObserver, api_key: str = "") -> None:
        """Download the archive if it is not there and whole."""
        del api_key
        download(ARCHIVE, folder, observer=observer)

    def files(self, folder: Path) -> Sequence[Path]:
        """Return the files of the form that the folder has, those of the download if none."""
        if (folder / "train" / "pos.npy").exists():
            arrays = [folder / split / f"{name}.npy" for split in _SPLITS for name in _ARRAYS]
            given = [folder / split / f"{name}.json" for split in _SPLITS for name in COLUMNS]
            return [*arrays, *(path for path in given if path.exists())]
        for tables in (folder, folder / "alex_mp_20"):
            if (tables / "train.csv").exists():
                return [tables / f"{split}.csv" for split in _SPLITS]
        return [folder / ARCHIVE.name]

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split in the order of its file."""
        folder = self.fetched_folder()
        if (folder / "train" / "pos.npy").exists():
            yield from _of_arrays(folder / split, on_skip)
            return
        titles = {column: title for column, (title, _) in COLUMNS.items()}
        files = self.files(folder)
        path = files[0] if len(files) == 1 else files[_SPLITS.index(split)]
        with self._opened(path, split) as file:
            yield from records_of(
                csv_rows(file, damaged=lambda reason: self.damaged(path, reason)),
                titles,
                source=f"{split}.csv",
                on_skip=on_skip,
                read_value=_value,
            )

    @contextmanager
    def _opened(self, path: Path, split: Split) -> Iterator[IO[bytes]]:
        """Open the csv of a split: a file, or a member of the archive that is never unpacked."""
        if path.suffix == ".csv":
            with path.open("rb") as file:
                yield file
            return
        try:
            archive = zipfile.ZipFile(path)
        except READING_ERRORS as error:
            raise self.damaged(path, f"it is no readable zip ({error})") from None
        with archive:
            member = next((n for n in archive.namelist() if n.endswith(f"/{split}.csv")), None)
            if member is None:
                raise self.damaged(path, f"it holds no {split}.csv")
            with archive.open(member) as file:
                yield file


def _of_arrays(folder: Path, on_skip: Callable[[Skipped], None] | None) -> Iterator[Record]:
    arrays = {name: _array(folder / f"{name}.npy") for name in _ARRAYS}
    counts = arrays["num_atoms"].astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(counts)])
    n_rows, n_sites = len(counts), int(ends[-1])
    shapes = {name: array.shape for name, array in arrays.items()}
    wanted = {
        "pos": (n_sites, 3),
        "cell": (n_rows, 3, 3),
        "atomic_numbers": (n_sites,),
        "num_atoms": (n_rows,),
        "structure_id": (n_rows,),
    }
    if wrong := [name for name in _ARRAYS if shapes[name] != wanted[name]]:
        name = wrong[0]
        raise _broken(
            folder / f"{name}.npy", f"it has shape {shapes[name]}, expected {wanted[name]}"
        )
    columns = _columns(folder, n_rows)
    names = arrays["structure_id"].astype(str).tolist()
    frac = arrays["pos"].astype(np.float64)
    numbers = arrays["atomic_numbers"].astype(np.int64)
    cells = arrays["cell"].astype(np.float64)
    sound = np.isfinite(cells).all(axis=(1, 2)) & (counts > 0)
    sound[np.repeat(np.arange(n_rows), counts)[~np.isfinite(frac).all(axis=1)]] = False
    is_first = np.zeros(n_rows, dtype=np.bool_)
    is_first[np.unique(names, return_index=True)[1]] = True
    for row in range(n_rows):
        sites = slice(ends[row], ends[row + 1])
        if not sound[row] or not is_first[row]:
            reason = "not finite, or without sites" if is_first[row] else "its id is used twice"
            kind: SkippedKind = "unreadable" if is_first[row] else "same id"
            told = f"{names[row]}: {reason}"
            _refuse(Skipped(f"{folder.name}#{row}", told, kind, names[row]), on_skip)
            continue
        yield Record(
            names[row],
            Crystal(cells[row], frac[sites], numbers[sites]),
            {t: v for t, values in columns.items() if (v := values[row]) is not None},
        )


def _array(path: Path) -> NDArray[Any]:  # of the kind that the file has
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "object" in str(error).lower():
            raise BadFile(
                f"{path} is an array of Python objects, which only unpickling could read and that "
                "could run anything; write it anew as text: numpy.save(path, ids.astype(str))"
            ) from None
        raise _broken(path, f"it is no readable array ({error})") from None
    if not isinstance(array, np.ndarray):
        raise _broken(path, "it is an archive of arrays")
    return array


def _columns(folder: Path, n_rows: int) -> dict[str, list[PropertyValue | None]]:
    columns = {}
    for column, (title, _) in COLUMNS.items():
        path = folder / f"{column}.json"
        if not path.exists():
            continue
        try:
            values = json.loads(path.read_text(encoding="utf-8"))["values"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _broken(path, f"it holds no values ({error})") from None
        if not isinstance(values, list) or len(values) != n_rows:
            raise _broken(path, f"it does not hold {n_rows} values")
        try:
            columns[title] = [_cached_value(column, value) for value in values]
        except BadCrystal as error:
            raise _broken(path, str(error)) from None
    return columns


def _value(column: str, text: str) -> PropertyValue | None:
    if column != "space_group":
        return number_of(column, text)
    return float(_space_group_number(text.strip())) if text.strip() else None


def _cached_value(column: str, value: Any) -> PropertyValue | None:  # JSON, NaN included
    if column == "space_group" and isinstance(value, str):
        return float(_space_group_number(value))
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


@cache
def _space_group_number(symbol: str) -> int:
    """Return the number of a space group by its short Hermann-Mauguin symbol; numbers stay."""
    if symbol.replace(".0", "").isdigit():
        return int(float(symbol))
    from pymatgen.symmetry.groups import SpaceGroup

    try:
        return int(SpaceGroup(symbol).int_number)
    except ValueError:
        raise BadCrystal(f"{symbol!r} is no space group") from None


def _broken(path: Path, reason: str) -> BadFile:
    return BadFile(f"{path} is damaged: {reason}; make it again with MatterGen's csv_to_dataset.py")


def _refuse(skipped: Skipped, on_skip: Callable[[Skipped], None] | None) -> None:
    if on_skip is None:
        raise BadCrystal(f"{skipped.source}: {skipped.reason}")
    on_skip(skipped)
