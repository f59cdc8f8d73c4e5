"""Text tables cut into runs of whole entries, so that others can read the runs at the same time.

Only as much is looked at as it takes to find where an entry ends; memory is one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadFile
from matgen.io.formats import Format
from matgen.io.unpacking import LARGEST_FILE_BYTES

RUN_BYTES: Final = 2**20
"""How much is read at a time; a run is this large, or one entry if that is larger."""
_LARGEST_HEADER: Final = 2**20
_NEWLINE, _QUOTE, _RETURN = b'\n"\r'


@dataclass(frozen=True)
class Run:
    """Some entries after each other.

    Attributes:
        data: Their bytes; of a csv with the header before them.
        first: Number of the first one: of a line in JSON lines, of a row or frame elsewhere.
        is_last: Whether the file ends here, or cannot be followed beyond.
    """

    data: bytes
    first: int
    is_last: bool


@dataclass(frozen=True)
class _Ends:
    """Where entries end in some bytes.

    Attributes:
        position: Past the last byte of the last entry that is whole.
        n_entries: How many are whole.
        is_lost: Whether what follows is no entry, so that no more can be found.
    """

    position: int
    n_entries: int
    is_lost: bool = False


def runs(stream: BinaryIO, kind: Format) -> Iterator[Run]:
    """Yield the runs of a file of JSON lines, extended XYZ or csv.

    What is no whole entry at the end comes as a run of its own, for its reader to complain about.

    Raises:
        BadFile: unreadable, or an entry larger than any crystal.
    """
    ends = _ENDS[kind]
    header = _header(stream) if kind == "csv" else b""
    n_before, kept, is_empty = 0, b"", True
    while True:
        try:
            block = stream.read(max(RUN_BYTES, len(kept)))
        except OSError as error:
            raise BadFile(f"cannot be read: {error.strerror or error}") from None
        kept += block
        found = ends(kept, not block)
        if found.position:
            rest = kept[found.position :]
            is_last = not block and not rest
            yield Run(header + kept[: found.position], n_before, is_last)
            n_before, is_empty = n_before + found.n_entries, False
            kept = rest
        if not block or found.is_lost:
            break
        if len(kept) > LARGEST_FILE_BYTES:
            raise BadFile(f"entry {n_before} has more than {LARGEST_FILE_BYTES} bytes")
    if kept or is_empty:
        rest = kept[:RUN_BYTES] if found.is_lost else kept
        yield Run(header + rest, n_before, is_last=True)


def _header(stream: BinaryIO) -> bytes:
    """Return the first line of a csv; column names hold no line ends."""
    line = stream.readline(_LARGEST_HEADER)
    return line if line.endswith(b"\n") else line + b"\n" if line else b""


def _line_ends(data: bytes, is_end: bool) -> _Ends:  # noqa: FBT001 - a fact about the data
    position = len(data) if is_end else data.rfind(b"\n") + 1
    return _Ends(position, data.count(b"\n", 0, position))


def _row_ends(data: bytes, is_end: bool) -> _Ends:  # noqa: FBT001 - a fact about the data
    """Find line ends that are in no quotes; empty lines are no rows."""
    codes = np.frombuffer(data, dtype=np.uint8)
    newlines = np.flatnonzero(codes == _NEWLINE)
    quotes = np.flatnonzero(codes == _QUOTE)
    ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    if is_end and len(quotes) % 2 == 0 and len(data) and codes[-1] != _NEWLINE:
        ends = np.append(ends, len(data))
    if not len(ends):
        return _Ends(0, 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    is_blank = (lengths == 0) | ((lengths == 1) & (codes[starts] == _RETURN))
    return _Ends(min(int(ends[-1]) + 1, len(data)), int((~is_blank).sum()))


def _frame_ends(data: bytes, is_end: bool) -> _Ends:  # noqa: FBT001 - a fact about the data
    """Follow the numbers of sites from frame to frame."""
    lines = _line_starts(data, is_end)
    line = n_frames = 0
    while line < len(lines) - 1:
        count = data[lines[line] : lines[line + 1]].strip()
        if not count:
            line += 1
            continue
        if not count.isdigit() or len(count) > 9:
            return _Ends(int(lines[line]), n_frames, is_lost=True)
        after = line + int(count) + 2
        if after > len(lines) - 1:
            break
        line = after
        n_frames += 1
    return _Ends(int(lines[line]), n_frames)


def _line_starts(data: bytes, is_end: bool) -> NDArray[np.int64]:  # noqa: FBT001 - as above
    """Return where each whole line starts, and past the end of the last one."""
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE)
    starts = np.concatenate([[0], newlines + 1])
    if is_end and starts[-1] < len(data):
        starts = np.append(starts, len(data))
    return starts


_ENDS: Final[dict[Format, Callable[[bytes, bool], _Ends]]] = {
    "jsonl": _line_ends,
    "csv": _row_ends,
    "xyz": _frame_ends,
}
