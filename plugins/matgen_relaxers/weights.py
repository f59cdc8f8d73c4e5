"""Where the weights of potentials are: in a wheel, in a folder of the package, or in a file."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Final

from matgen.errors import BadFile, MissingDependency

LOADING_ERRORS: Final = (
    UnpicklingError, EOFError, KeyError, AttributeError, ValueError, RuntimeError, AssertionError,
    struct.error,
)  # fmt: skip
"""What the packages raise for a file that does not hold their weights."""


def given_file(weights: str) -> tuple[Path, ...]:
    """Return the file that a ``weights`` setting names; nothing where it is empty."""
    return (Path(weights).expanduser(),) if weights else ()


def existing(path: Path, *, potential: str, source: str) -> Path:
    """Return the file that a user named.

    Raises:
        MissingDependency: it is not there.
    """
    if not path.is_file():
        raise MissingDependency(
            f"the {potential} weights {path} do not exist; set weights to a file that does, "
            f"for example one from {source}"
        )
    return path


def kept_or_fetched(
    kept: Path, fetch: Callable[[], object], *, potential: str, source: str
) -> Path:
    """Return where a package keeps weights, after letting it download them if they are not there.

    Raises:
        MissingDependency: they cannot be downloaded; says which file goes where.
    """
    if kept.is_file():
        return kept
    try:
        # Packages tell of downloads on stdout, where a command's results go.
        with contextlib.redirect_stdout(io.StringIO()):
            fetch()
    except (OSError, RuntimeError) as error:  # requests' and urllib's errors are OSErrors
        raise MissingDependency(
            f"the {potential} weights are not at {kept} and could not be downloaded "
            f"({type(error).__name__}); put {source} there, or set weights to the file"
        ) from None
    return existing(kept, potential=potential, source=source)


def no_weights(path: Path, error: Exception, *, potential: str) -> BadFile:
    """Return the error for a file that a package cannot load."""
    # Their own texts advise to load with weights_only=False, or speak of missing keys.
    return BadFile(
        f"{path} holds no weights of {potential} ({type(error).__name__}); download them again, "
        "or set weights to another file"
    )
