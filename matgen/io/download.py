"""Files from the network: resumed where a connection broke, checked, and whole or absent."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from matgen.atomic import read_json, write_json
from matgen.errors import BadFile, UserError
from matgen.io.digests import sha256_of
from matgen.io.git_lfs import is_pointer
from matgen.io.web import Patience, Transient, get, host, new_session

if TYPE_CHECKING:
    from requests import Response, Session

    from matgen.roles.dataset import FetchObserver

FETCHED = "fetched.json"
"""In the folder of the files: what was downloaded, from where, and its digest."""
_CHUNK = 1 << 18
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded.

    Attributes:
        url: ``https://…``.
        name: How it is called in its folder.
        sha256: 64 hex digits; empty where nobody published them.
        n_bytes: Its size; 0 where unknown.
    """

    url: str
    name: str
    sha256: str = ""
    n_bytes: int = 0


def download(
    file: RemoteFile,
    folder: Path,
    *,
    observer: FetchObserver,
    patience: Patience | None = None,
) -> Path:
    """Return the file, downloaded unless it is there and whole.

    What has arrived is kept in ``NAME.part``; a later call asks only for the rest, and starts again
    if the file on the server is another one by now.

    Raises:
        UserError: the network, the server, the disk; in one sentence what to do.
        BadFile: what arrived is not the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    if _is_whole(file, target):
        size = target.stat().st_size
        observer.on_progress(file.name, size, size, "bytes")
        return target
    part = _Part(file, folder)
    try:
        with new_session() as session, part.open() as handle:
            (patience or Patience()).keep_trying(
                lambda: _attempt(file, part, handle, session, observer),
                progress=lambda: part.n_gained,
                what=file.url,
            )
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise UserError(
            f"the disk of {folder} is full after {part.n_bytes} bytes of {file.name}; make room "
            "and run the same command again: it goes on where this one stopped"
        ) from None
    digest = _checked(file, part)
    part.path.replace(target)
    part.note.unlink(missing_ok=True)
    _record(file, target, digest)
    return target


class _Part:
    """What has arrived of a file, and which version of it: ``NAME.part`` and a note beside it."""

    def __init__(self, file: RemoteFile, folder: Path) -> None:
        self.path = folder / f"{file.name}.part"
        self.note = folder / f"{file.name}.part.json"
        self.url = file.url
        self.n_gained = 0
        """Bytes that arrived in this process, those of abandoned versions included."""

    @property
    def n_bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the part for appending, and keep other processes from doing so."""
        with self.path.open("ab") as handle:
            if sys.platform != "win32":
                import fcntl

                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UserError(
                        f"another process is downloading {self.path}; wait for it"
                    ) from None
            yield handle

    def validator(self) -> str:
        """Return the version of the file that the part belongs to, empty where unknown."""
        try:
            note = read_json(self.note)
        except BadFile:
            return ""
        return str(note.get("version", "")) if note.get("url") == self.url else ""

    def begin(self, handle: IO[bytes], version: str) -> None:
        """Start from the first byte of this version."""
        handle.truncate(0)
        write_json(self.note, {"url": self.url, "version": version})


def _attempt(
    file: RemoteFile, part: _Part, handle: IO[bytes], session: Session, observer: FetchObserver
) -> None:
    """Get the rest of a file over one connection."""
    import requests

    version = part.validator()
    # As it is: of a compressed answer neither length nor range says anything about the file.
    headers = {"Accept-Encoding": "identity"}
    if part.n_bytes and version:
        headers |= {"Range": f"bytes={part.n_bytes}-", "If-Range": version}
    where = f"if you have the file, put it at {part.path.with_suffix('')}"
    with get(session, file.url, headers, where=where) as answer:
        if answer.status_code == 416:
            if answer.headers.get("Content-Range", "") == f"bytes */{part.n_bytes}":
                return  # nothing is missing: the last try was cut after the last byte
            part.begin(handle, "")
            raise Transient(f"{host(file.url)} no longer has the part that was asked for")
        resumed = answer.status_code == 206
        if resumed and not _goes_on_at(answer, part.n_bytes):
            part.begin(handle, "")
            raise Transient(f"{host(file.url)} sent another part than the one asked for")
        if not resumed:
            part.begin(handle, _version(answer))
        length = answer.headers.get("Content-Length", "")
        total = part.n_bytes + int(length) if length.isdigit() else None
        _refuse_if_too_large(part, total)
        observer.on_progress(file.name, part.n_bytes, total, "bytes")
        try:
            for chunk in answer.iter_content(_CHUNK):
                if part.n_bytes == 0:
                    _refuse_other_things(file, chunk, answer)
                handle.write(chunk)
                handle.flush()
                part.n_gained += len(chunk)
                observer.on_progress(file.name, part.n_bytes, total, "bytes")
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            raise Transient(f"{host(file.url)} cut the connection") from None
        if total is not None and part.n_bytes < total:
            raise Transient(f"{host(file.url)} cut the connection")


def _goes_on_at(answer: Response, start: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _version(answer: Response) -> str:
    """Return what If-Range may name: a strong ETag, else the time of the last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _refuse_if_too_large(part: _Part, total: int | None) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if total is not None and total - part.n_bytes > free:
        raise UserError(
            f"{part.path.parent} has {free} bytes free and {part.path.stem} needs "
            f"{total - part.n_bytes}; make room, or choose another folder with --out"
        )


def _refuse_other_things(file: RemoteFile, start: bytes, answer: Response) -> None:
    """Refuse what servers send in place of a file."""
    if is_pointer(start):
        raise BadFile(
            f"{file.url} gives a git-LFS pointer and not the file; clone the repository, run "
            f"git lfs pull --include '*{file.name}' --exclude '' in it, and use its folder with "
            "--set dataset.path=DIR"
        )
    said = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    looks = start.lstrip()[:64].lower().startswith((b"<!doctype html", b"<html"))
    if looks or (said == "text/html" and not file.name.endswith((".html", ".htm"))):
        raise BadFile(
            f"{file.url} gives a web page and not the file; a proxy or a sign-in page may be in "
            "between: open it in a browser to see"
        )


def _checked(file: RemoteFile, part: _Part) -> str:
    """Return the digest of a part that is the whole file; a wrong one is removed.

    Raises:
        BadFile: it is not the file.
    """
    digest = sha256_of(part.path)
    n_bytes = part.n_bytes
    if file.sha256 and digest != file.sha256:
        part.path.unlink()
        part.note.unlink(missing_ok=True)
        raise BadFile(
            f"{file.url} has sha256 {digest} ({n_bytes} bytes), expected {file.sha256}: the "
            "publisher replaced it or it was damaged on the way; what arrived was deleted: try "
            "again, and if it repeats, use a copy you trust with --set dataset.path=DIR"
        )
    if file.n_bytes and n_bytes != file.n_bytes:
        part.path.unlink()
        part.note.unlink(missing_ok=True)
        raise BadFile(
            f"{file.url} has {n_bytes} bytes, expected {file.n_bytes}; what arrived was deleted: "
            "try again, and if it repeats, use a copy you trust with --set dataset.path=DIR"
        )
    return digest


def _is_whole(file: RemoteFile, target: Path) -> bool:
    """Whether a file is there with the published digest, or else the one it was downloaded with."""
    if not target.is_file():
        return False
    wanted = file.sha256 or _recorded(target.parent).get(file.name, {}).get("sha256", "")
    return bool(wanted) and sha256_of(target) == wanted


def _recorded(folder: Path) -> dict[str, dict[str, str]]:
    try:
        saved = read_json(folder / FETCHED)
    except BadFile:
        return {}
    files = saved.get("files")
    return dict(files) if saved.get("format") == 1 and isinstance(files, dict) else {}


def _record(file: RemoteFile, target: Path, digest: str) -> None:
    entry = {"url": file.url, "sha256": digest}
    known = {**_recorded(target.parent), file.name: entry}
    write_json(target.parent / FETCHED, {"format": 1, "files": known})
