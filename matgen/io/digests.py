"""SHA-256 of files, remembered beside them so that gigabytes are not read again at every start."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from matgen.atomic import read_json, write_json
from matgen.errors import BadFile

REMEMBERED = ".digests.json"
"""In the folder of the files: name to size, time of last change, and digest."""
_BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the 64 hex digits of a file's SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def folder_digest(folder: Path, files: Sequence[Path]) -> str:
    """Return a digest of the names and contents of files, wherever their folder lies.

    A file whose size and time of last change are those remembered is not read again.

    Args:
        folder: Names count from here; the remembered digests lie here, if it can be written to.
        files: Files under it.
    """
    known = _remembered(folder)
    now: dict[str, object] = {}
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(folder).as_posix()
        state = path.stat()
        entry = known.get(name)
        if not (
            isinstance(entry, dict)
            and entry.get("bytes") == state.st_size
            and entry.get("mtime_ns") == state.st_mtime_ns
            and isinstance(entry.get("sha256"), str)
        ):
            entry = {
                "bytes": state.st_size,
                "mtime_ns": state.st_mtime_ns,
                "sha256": sha256_of(path),
            }
        now[name] = entry
        digest.update(f"{name}\0{entry['sha256']}\0".encode())
    if any(known.get(name) != entry for name, entry in now.items()):
        # Somebody else's folder may be read-only: then they are read again next time.
        with suppress(OSError):
            write_json(folder / REMEMBERED, {"format": 1, "files": {**known, **now}})
    return digest.hexdigest()


def _remembered(folder: Path) -> dict[str, object]:
    """Return what is remembered; nothing where it is missing, damaged or of another format."""
    try:
        saved = read_json(folder / REMEMBERED)
    except BadFile:
        return {}
    files = saved.get("files")
    return dict(files) if saved.get("format") == 1 and isinstance(files, dict) else {}
