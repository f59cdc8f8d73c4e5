"""Compressed files and archives, opened so that no file can make us run out of memory or disk.

Nothing is extracted to disk. What would unpack to far more than crystals ever do is refused, by
what it really unpacks to and not by what its headers say.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from matgen.errors import BadFile
from matgen.io.formats import is_gzipped

LARGEST_ARCHIVE_BYTES: Final = 64 * 2**30
LARGEST_FILE_BYTES: Final = 2**28
"""Of one file that is read as a whole: a CIF of 256 MiB would list a million sites."""
LARGEST_EXPANSION: Final = 300
"""What unpacks to more than this many times its size is refused; CIFs reach about 10."""
MOST_MEMBERS: Final = 5_000_000
_ALWAYS_ALLOWED: Final = 2**20
"""Bytes that anything may unpack to: a short text of one letter compresses a thousandfold."""
_LARGEST_HEADER: Final = 2**24
"""Of a file in a tar archive, bytes; long names are put into headers."""
_AT_ONCE = 2**18
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class TarMember:
    """A file of a tar archive.

    Attributes:
        name: As the archive has it.
        data: Its bytes; None where ``problem`` says why.
        position: Bytes of the archive read so far.
    """

    name: str
    data: bytes | None
    problem: str
    position: int


class _Unpacked(io.RawIOBase):
    """What a gzip file unpacks to, read no further than it may expand."""

    def __init__(self, packed: BinaryIO, source: str) -> None:
        self._packed = packed
        self._file = gzip.GzipFile(fileobj=packed, mode="rb")
        self._source = source
        self._n_out = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: Buffer
        try:
            # However much is asked for: what one read gives is not bounded by its input.
            data = self._file.read(min(len(buffer), _AT_ONCE))
        except (OSError, EOFError, zlib.error) as error:
            raise BadFile(f"{self._source} is no readable gzip file: {error}") from None
        self._n_out += len(data)
        n_in = self._packed.tell()
        if self._n_out > max(LARGEST_EXPANSION * n_in, _ALWAYS_ALLOWED):
            raise BadFile(_expands(self._source, n_in, self._n_out))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Give the bytes of a file, unpacked if its name ends in ``.gz``, and the file on disk itself.

    Raises:
        BadFile: it cannot be opened, or while it is read: truncated, or expands absurdly.
    """
    with ExitStack() as stack:
        try:
            packed = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise BadFile(f"cannot read {path}: {error.strerror or error}") from None
        if is_gzipped(path.name):
            yield io.BufferedReader(_Unpacked(packed, str(path)), 2**16), packed
        else:
            yield packed, packed


def read_whole(path: Path) -> bytes:
    """Return the bytes of a file that holds one text, unpacked.

    Raises:
        BadFile: unreadable, or larger than such a text is.
    """
    with opened(path) as (stream, _):
        try:
            return _limited(stream, str(path))
        except OSError as error:
            raise BadFile(f"cannot read {path}: {error.strerror or error}") from None


def unpacked(name: str, data: bytes, source: str) -> bytes:
    """Return the bytes of a file of this name, unpacked if it ends in ``.gz``.

    Raises:
        BadFile: damaged, or larger than one text is.
    """
    if not is_gzipped(name):
        return data
    return _limited(io.BufferedReader(_Unpacked(io.BytesIO(data), source), 2**16), source)


def _limited(stream: BinaryIO, source: str) -> bytes:
    blocks, n_bytes = [], 0
    while block := stream.read(_AT_ONCE):
        blocks.append(block)
        n_bytes += len(block)
        if n_bytes > LARGEST_FILE_BYTES:
            raise BadFile(f"{source} holds more than {LARGEST_FILE_BYTES} bytes; no crystal does")
    return b"".join(blocks)


def open_zip(path: Path) -> zipfile.ZipFile:
    """Return a zip whose members may be read; the caller closes it.

    Raises:
        BadFile: no zip, cut short, or it says that it unpacks to more than crystals do.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} is no readable zip: {error}") from None
    members = archive.infolist()
    unpacked = sum(info.file_size for info in members)
    packed = max(path.stat().st_size, 1)
    reason = ""
    if unpacked > min(LARGEST_ARCHIVE_BYTES, max(LARGEST_EXPANSION * packed, _ALWAYS_ALLOWED)):
        reason = _expands(str(path), packed, unpacked)
    elif len(members) > MOST_MEMBERS:
        reason = f"{path} holds {len(members)} files; at most {MOST_MEMBERS} are read"
    if reason:
        archive.close()
        raise BadFile(reason)
    return archive


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the bytes of one file of a zip.

    Raises:
        BadFile: a link, encrypted, damaged, a name that leads out, or a size that is a lie.
    """
    if reason := _refused(info):
        raise BadFile(reason)
    try:
        with archive.open(info) as file:
            # Not read(): that unpacks everything before it looks at the size in the header.
            data = file.read(info.file_size)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:
        raise BadFile(f"cannot be unpacked: {error}") from None
    except NotImplementedError as error:
        raise BadFile(f"cannot be unpacked: {error}; pack it again as zip or tar") from None
    if len(data) < info.file_size:
        raise BadFile(f"{len(data)} of its {info.file_size} bytes are there; it is truncated")
    return data


def tar_members(path: Path) -> Iterator[TarMember]:
    """Yield the files of a tar archive, plain or gzipped, in its order; a link says it is one.

    Raises:
        BadFile: no tar, cut short, or it unpacks to more than crystals do.
    """
    with opened(path) as (stream, packed):
        blocks = _Blocks(stream, path)
        try:
            # Block by block, so that the last one read is the one that ended the archive.
            with tarfile.open(fileobj=blocks, mode="r|", bufsize=tarfile.BLOCKSIZE) as archive:  # type: ignore[call-overload]  # it reads, which is all that is needed
                while (info := archive.next()) is not None:
                    # Or the archive keeps every header it has seen.
                    archive.members.clear()
                    problem = _refused_in_tar(info)
                    blocks.allowance = _LARGEST_HEADER + info.size
                    if not info.isdir():
                        file = None if problem else archive.extractfile(info)
                        data = None if file is None else file.read()
                        yield TarMember(info.name, data, problem, packed.tell())
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
            raise BadFile(f"{path} is no readable tar archive: {error}") from None
        if blocks.last.strip(b"\0") or len(blocks.last) < tarfile.BLOCKSIZE:
            raise BadFile(f"{path} ends without the mark of an end; it is truncated or damaged")


class _Blocks:
    """A stream that remembers the last block and gives no more than a header and a file may be."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self.last = b""
        self.allowance = _LARGEST_HEADER

    def read(self, n_bytes: int) -> bytes:
        self.last = self._stream.read(n_bytes)
        self.allowance -= len(self.last)
        if self.allowance < 0:
            raise BadFile(f"{self._path} has a header of more than {_LARGEST_HEADER} bytes")
        return self.last


def leads_out(name: str) -> bool:
    """Whether the name of a member points outside its archive."""
    windows = name.replace("\\", "/")
    return windows.startswith("/") or ".." in PurePosixPath(windows).parts or windows[1:2] == ":"


def _refused(info: zipfile.ZipInfo) -> str:
    """Return why a file of a zip is not read; empty if it is."""
    if leads_out(info.filename):
        return "its name leads out of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a link, and links in archives are not followed"
    if info.flag_bits & 0x1:
        return "it is encrypted; unpack it yourself"
    if info.compress_type not in _READABLE:
        return "it is packed by another method than deflate; pack it again as zip or tar"
    if info.file_size > max(LARGEST_EXPANSION * info.compress_size, _ALWAYS_ALLOWED):
        return _expands("it", info.compress_size, info.file_size)
    return _too_large(info.file_size)


def _refused_in_tar(info: tarfile.TarInfo) -> str:
    if leads_out(info.name):
        return "its name leads out of the archive"
    if info.issym() or info.islnk():
        return "it is a link, and links in archives are not followed"
    if not info.isreg() or info.issparse():
        return "it is no plain file"
    return _too_large(info.size)


def _too_large(n_bytes: int) -> str:
    if n_bytes <= LARGEST_FILE_BYTES:
        return ""
    return f"it has {n_bytes} bytes, of which at most {LARGEST_FILE_BYTES} are unpacked in memory"


def _expands(what: str, packed: int, unpacked: int) -> str:
    return (
        f"{what} would unpack from {packed} to {unpacked} bytes, which no archive of crystals "
        "does; unpack it yourself if you trust it"
    )
