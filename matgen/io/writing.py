"""Samples to files: extended XYZ, JSON lines, CIFs in a folder or a zip. All atomic."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from matgen.atomic import replacing, replacing_folder
from matgen.errors import BadOptions
from matgen.io.extxyz import empty_frame, frame_text
from matgen.io.formats import MANIFEST
from matgen.records import Crystal, PropertyValue, Sample

FORMATS = ".extxyz, .xyz, .jsonl, .cif (one crystal), .zip (of CIFs), or a folder (no suffix)"


FILE_SUFFIXES = frozenset({".extxyz", ".xyz", ".jsonl", ".cif", ".zip"})
"""Of single files; a folder of CIFs has none."""


class _Sink(Protocol):
    """Takes samples one by one."""

    def add(self, sample: Sample, crystal: Crystal | None) -> None:
        """Write one sample; ``crystal`` is what to write for it."""


def check_target(path: Path, asked: int) -> None:
    """Refuse a target that could not be written, before any work is done.

    Raises:
        BadOptions: an unknown suffix, several crystals for one CIF, or a folder with files in it.
    """
    suffix = path.suffix.lower()
    if suffix == ".cif" and asked > 1:
        raise BadOptions(f"{path} would hold {asked} crystals; write a folder or a .zip of CIFs")
    if suffix and suffix not in FILE_SUFFIXES:
        raise BadOptions(f"{path}: cannot write {suffix}; formats: {FORMATS}")
    if suffix == "" and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise BadOptions(f"{path} exists; choose another folder, or remove it")
    if suffix and path.is_dir():
        raise BadOptions(f"{path} is a folder; choose another name")


def write_samples(
    path: Path, samples: Iterable[Sample], *, asked: int, symmetrize: float | None = None
) -> None:
    """Write samples in the format that the suffix says; see ``FORMATS``.

    JSON lines keep failed samples as rows; extended XYZ carries the number asked for with every
    frame; folders and zips have a manifest. CIFs carry no oxidation states, which relaxers would
    take for other species.

    Args:
        path: Replaced if it is a file.
        samples: In order; consumed as they come.
        asked: How many samples were asked for.
        symmetrize: Write the conventional cell symmetrised at this symprec, Å, CIFs with its space
            group and operations. A crystal that spglib cannot treat is written as it is.

    Raises:
        BadOptions: see ``check_target``.
    """
    check_target(path, asked)
    with _sink(path, asked, symmetrize) as sink:
        for sample in samples:
            crystal = sample.crystal
            if crystal is not None and symmetrize is not None:
                crystal = symmetrized(crystal, symmetrize)
            sink.add(sample, crystal)


def symmetrized(crystal: Crystal, symprec: float) -> Crystal:
    """Return the conventional standard cell with sites and cell symmetrised.

    Returns the crystal itself where spglib finds no symmetry at all.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    try:
        analyzer = SpacegroupAnalyzer(crystal.to_structure(), symprec=symprec)
        return Crystal.from_structure(analyzer.get_refined_structure())
    except (SymmetryUndeterminedError, TypeError, ValueError):
        return crystal


def cif_text(crystal: Crystal, *, symprec: float | None = None) -> str:
    """Return a CIF: P1, or with the space group and operations found at ``symprec``, Å."""
    from pymatgen.io.cif import CifWriter

    try:
        return str(CifWriter(crystal.to_structure(), symprec=symprec))
    except (TypeError, ValueError):
        if symprec is None:
            raise
        return str(CifWriter(crystal.to_structure()))


def sample_row(sample: Sample) -> dict[str, object]:
    """Return what every format keeps of a sample beside its crystal."""
    return {
        "index": sample.index,
        "log_prob": sample.log_prob,
        "log_mass": sample.log_mass,
        "attempts": sample.attempts,
        "requested": dict(sample.requested),
        "achieved": dict(sample.achieved),
        "error": sample.error,
    }


def sample_info(sample: Sample, asked: int) -> dict[str, PropertyValue]:
    """Return what a frame of extended XYZ keeps of a sample beside its crystal.

    Args:
        asked: Samples that were asked for, with every frame.
    """
    info: dict[str, PropertyValue] = {"index": sample.index, "asked": asked}
    for name in ("log_prob", "log_mass", "attempts"):
        if (value := getattr(sample, name)) is not None:
            info[name] = value
    for what in ("requested", "achieved"):
        info |= {f"{what}_{label}": value for label, value in getattr(sample, what).items()}
    if sample.error:
        info["error"] = sample.error
    return info


@contextmanager
def _sink(path: Path, asked: int, symprec: float | None) -> Iterator[_Sink]:
    suffix = path.suffix.lower()
    if suffix == "":
        if path.exists():
            path.rmdir()
        with replacing_folder(path) as folder:
            yield _CifFolder(folder, symprec)
    elif suffix == ".zip":
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            sink = _CifZip(archive, symprec)
            yield sink
            archive.writestr(MANIFEST, "".join(sink.manifest), zipfile.ZIP_DEFLATED)
    else:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            if suffix == ".jsonl":
                yield _JsonLines(file)
            elif suffix == ".cif":
                yield _OneCif(file, symprec)
            else:
                frames = _Xyz(file, asked)
                yield frames
                frames.close()


class _JsonLines:
    def __init__(self, file: io.TextIOBase | io.TextIOWrapper) -> None:
        self._file = file

    def add(self, sample: Sample, crystal: Crystal | None) -> None:
        held = None
        if crystal is not None:
            held = {
                "lattice": crystal.lattice.tolist(),
                "frac": crystal.frac.tolist(),
                "numbers": crystal.numbers.tolist(),
                "oxidation": None if crystal.oxidation is None else crystal.oxidation.tolist(),
            }
        row = {**sample_row(sample), "crystal": held}
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


class _Xyz:
    def __init__(self, file: io.TextIOBase | io.TextIOWrapper, asked: int) -> None:
        self._file = file
        self._asked = asked
        self._n_frames = 0

    def add(self, sample: Sample, crystal: Crystal | None) -> None:
        if crystal is None:
            return
        info = sample_info(sample, self._asked)
        self._file.write(frame_text(crystal, info))
        self._n_frames += 1

    def close(self) -> None:
        """Leave the count where there is no frame to carry it."""
        if not self._n_frames:
            self._file.write(empty_frame({"asked": self._asked}))


class _OneCif:
    def __init__(self, file: io.TextIOBase | io.TextIOWrapper, symprec: float | None) -> None:
        self._file = file
        self._symprec = symprec

    def add(self, sample: Sample, crystal: Crystal | None) -> None:
        if crystal is None:
            raise BadOptions(f"the one sample asked for failed ({sample.error}); ask for more")
        self._file.write(cif_text(crystal, symprec=self._symprec))


class _CifFolder:
    def __init__(self, folder: Path, symprec: float | None) -> None:
        self._folder = folder
        self._symprec = symprec
        (folder / MANIFEST).touch()

    def add(self, sample: Sample, crystal: Crystal | None) -> None:
        name = _file_name(sample, crystal)
        if crystal is not None:
            text = cif_text(crystal, symprec=self._symprec)
            (self._folder / name).write_text(text, encoding="utf-8")
        with (self._folder / MANIFEST).open("a", encoding="utf-8") as manifest:
            manifest.write(_manifest_line(sample, name))


class _CifZip:
    def __init__(self, archive: zipfile.ZipFile, symprec: float | None) -> None:
        self._archive = archive
        self._symprec = symprec
        self.manifest: list[str] = []

    def add(self, sample: Sample, crystal: Crystal | None) -> None:
        name = _file_name(sample, crystal)
        if crystal is not None:
            text = cif_text(crystal, symprec=self._symprec)
            self._archive.writestr(name, text, zipfile.ZIP_DEFLATED)
        self.manifest.append(_manifest_line(sample, name))


def _file_name(sample: Sample, crystal: Crystal | None) -> str:
    return "" if crystal is None else f"sample_{sample.index:06d}.cif"


def _manifest_line(sample: Sample, name: str) -> str:
    return json.dumps({**sample_row(sample), "file": name}, ensure_ascii=False) + "\n"
