"""git-LFS pointers: a few lines of text that lie where a large file should."""

from __future__ import annotations

from pathlib import Path

from matgen.errors import BadFile

FIRST_LINE = b"version https://git-lfs.github.com/spec/v1"
"""Source: the git-LFS specification, docs/spec.md of git-lfs/git-lfs."""


def is_pointer(start: bytes) -> bool:
    """Whether a file that starts with these bytes is a pointer."""
    return start.startswith(FIRST_LINE)


def refuse_pointer(path: Path) -> None:
    """Raise if a file is a git-LFS pointer and not what it points to.

    Raises:
        BadFile: it is one; says what to run. A file that cannot be read is left to its reader.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(FIRST_LINE))
    except OSError:
        return
    if is_pointer(start):
        raise BadFile(
            f"{path} is a git-LFS pointer, a note of where the file is and not the file; run "
            f"git lfs pull --include {path.name} --exclude '' in that repository (git lfs install "
            "comes first, once)"
        )
