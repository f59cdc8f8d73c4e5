"""Checksums of a model's files, in the format of ``sha256sum``, which checks them anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matgen.atomic import write_text
from matgen.errors import BadFile
from matgen.io.digests import sha256_of

SUMS: Final = "SHA256SUMS"
NEEDED: Final = ("run.json", "vocabulary.json", "model.safetensors")
"""Files without which there is no model."""
CARD: Final = "README.md"
_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9][A-Za-z0-9._-]*)")


def write_sums(folder: Path, names: Sequence[str]) -> Path:
    """Write the checksums of files of a folder."""
    path = folder / SUMS
    write_text(path, "".join(f"{sha256_of(folder / name)}  {name}\n" for name in sorted(names)))
    return path


def read_sums(path: Path) -> Mapping[str, str]:
    """Return name to 64 hex digits.

    Raises:
        BadFile: missing, damaged, lacks a file that a model needs, or names one outside its folder.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BadFile(f"{path} is missing or no text") from None
    sums = {}
    for line in filter(None, lines):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise BadFile(f"{path} is damaged: {line[:80]!r} is no checksum of a file")
        sums[match[2]] = match[1]
    if lacking := [name for name in NEEDED if name not in sums]:
        raise BadFile(f"{path} is of no model: it lacks {', '.join(lacking)}")
    return sums


def differing(folder: Path, sums: Mapping[str, str]) -> list[str]:
    """Return the files that are missing or not what their checksum says."""
    return [
        name
        for name, digest in sums.items()
        if not (folder / name).is_file() or sha256_of(folder / name) != digest
    ]
