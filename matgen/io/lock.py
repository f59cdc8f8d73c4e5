"""One process at a time in a folder."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matgen.errors import UserError

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL}
"""What file systems without locks answer."""


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Keep other processes of this machine, or of a cluster whose file system has locks, out.

    The lock goes with the process, however it dies. Where there are no locks (Windows, some
    network file systems) nothing is kept out.

    Args:
        folder: Made if it is not there.
        what: What the other process does there, for the message: "is sampling into".

    Raises:
        UserError: another process is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process {what} {folder}; wait for it, or choose another folder"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(handle)
