"""Which file is of which format, told by its name."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeAlias

Format: TypeAlias = Literal["cif", "poscar", "xyz", "jsonl", "csv", "parquet"]

MANIFEST: Final = "manifest.jsonl"
"""In a folder or zip of CIFs: one line per sample asked for."""
DATASET_FILES: Final = ("dataset.json", "crystals.parquet")
"""In the folder of an imported dataset: its description and its crystals."""
TABLES: Final = frozenset({"xyz", "jsonl", "csv", "parquet"})
"""Formats that hold any number of crystals, one after the other."""

_BY_SUFFIX: Final[dict[str, Format]] = {
    ".cif": "cif",
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".vasp": "poscar",
    ".poscar": "poscar",
}
_POSCAR = re.compile(r"(^|[._-])(POSCAR|CONTCAR)($|[._-])", re.IGNORECASE)
_TARS = (".tar", ".tar.gz", ".tgz")


def format_of(name: str) -> Format | None:
    """Return the format of a file of this name, ``.gz`` left off; None if we read no such file."""
    bare = PurePosixPath(name.replace("\\", "/")).name
    if bare.startswith(".") or bare == MANIFEST:
        return None
    bare = without_gz(bare)
    found = _BY_SUFFIX.get(PurePosixPath(bare).suffix.lower())
    if found is None and _POSCAR.search(bare) and not is_archive(name):
        return "poscar"
    return found


def is_zip(name: str) -> bool:
    """Whether a file of this name is a zip."""
    return name.lower().endswith(".zip")


def is_tar(name: str) -> bool:
    """Whether a file of this name is a tar archive, plain or gzipped."""
    return name.lower().endswith(_TARS)


def is_archive(name: str) -> bool:
    """Whether a file of this name holds other files."""
    return is_zip(name) or is_tar(name)


def is_gzipped(name: str) -> bool:
    """Whether a file of this name is compressed by gzip."""
    return name.lower().endswith((".gz", ".tgz"))


def without_gz(name: str) -> str:
    """Return a name without ``.gz``."""
    return name[:-3] if name.lower().endswith(".gz") else name


def stem_of(name: str) -> str:
    """Return a relative path without the suffix of its format: ``a/b.cif.gz`` is ``a/b``."""
    bare = without_gz(name)
    suffix = PurePosixPath(bare).suffix
    return bare.removesuffix(suffix) if suffix.lower() in _BY_SUFFIX else bare


def supported() -> str:
    """Return the supported formats, for messages."""
    return (
        "CIF, extended XYZ, POSCAR, JSON lines, Parquet, csv with a cif column, each but Parquet "
        "also as .gz, zip, tar, folder"
    )


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key that sorts gen_2 before gen_10."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def relative_name(path: Path, root: Path) -> str:
    """Return the path below ``root`` with slashes, the same on every machine."""
    return path.relative_to(root).as_posix()
