"""Many crystals in a few arrays by reduced formula, in memory or mapped from a folder.

A folder holds one ``.npy`` file per array. Opening it reads next to nothing, workers share its
pages, and the reduced cells that comparing finds are written into it for the next time.

Letters: n crystals, S sites of all of them, b buckets.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadFile
from matgen.evaluation.matching import CompositionKey, ReducedCell, composition_key
from matgen.records import Crystal

_FIXED: Final[Mapping[str, type[np.generic]]] = {
    "lattice": np.float64,
    "frac": np.float64,
    "numbers": np.uint8,
    "starts": np.int64,
    "rows": np.int64,
    "id_text": np.uint8,
    "id_starts": np.int64,
    "digests": np.uint64,
    "bucket_starts": np.int64,
}
"""Arrays that never change: lattice (n, 3, 3), frac (S, 3), numbers (S,), starts (n + 1,) of the
sites, rows (n,) in the source, id_text and id_starts (n + 1,), digests (b,) of the formulas in
ascending order, bucket_starts (b + 1,) of their crystals."""
_REDUCED: Final[Mapping[str, type[np.generic]]] = {
    "reduced_lattice": np.float64,
    "reduced_frac": np.float64,
    "reduced_kinds": np.uint8,
    "reduced_sites": np.int32,
    "reduced_check": np.uint32,
}
"""Reduced cells, as large as the crystals they are of; check is 0 until one is there."""


@dataclass(frozen=True, eq=False)
class PackedCrystals:
    """Crystals grouped by reduced formula.

    Attributes:
        arrays: Name to array.
    """

    arrays: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.arrays["rows"])

    @classmethod
    def of(cls, crystals: Iterable[tuple[int, str, Crystal]]) -> PackedCrystals:
        """Return packed crystals, given row, id and crystal of each."""
        entries = list(crystals)
        digests = np.array([formula_digest(composition_key(c)) for _, _, c in entries], np.uint64)
        order = np.argsort(digests, kind="stable")
        entries = [entries[index] for index in order.tolist()]
        found, starts = np.unique(digests[order], return_index=True)
        texts = [identifier.encode() for _, identifier, _ in entries]
        return cls(
            {
                "lattice": np.array([c.lattice for _, _, c in entries]).reshape(-1, 3, 3),
                "frac": np.concatenate([np.zeros((0, 3)), *(c.frac for _, _, c in entries)]),
                "numbers": np.concatenate(
                    [np.zeros(0, np.uint8), *(c.numbers.astype(np.uint8) for _, _, c in entries)]
                ),
                "starts": _starts(c.n_sites for _, _, c in entries),
                "rows": np.array([row for row, _, _ in entries], np.int64),
                "id_text": np.frombuffer(b"".join(texts), np.uint8),
                "id_starts": _starts(map(len, texts)),
                "digests": found,
                "bucket_starts": np.append(starts, len(entries)).astype(np.int64),
            }
        )

    def bucket(self, key: CompositionKey) -> range:
        """Return the places of the crystals whose formula has the digest of this one."""
        digest = np.uint64(formula_digest(key))
        digests = self.arrays["digests"]
        at = int(np.searchsorted(digests, digest))
        if at == len(digests) or digests[at] != digest:
            return range(0)
        begin, end = self.arrays["bucket_starts"][at : at + 2].tolist()
        return range(begin, end)

    def crystal(self, place: int) -> Crystal:
        """Return a crystal, without oxidation states."""
        begin, end = self.arrays["starts"][place : place + 2].tolist()
        return Crystal(
            np.array(self.arrays["lattice"][place]),
            np.array(self.arrays["frac"][begin:end]),
            np.array(self.arrays["numbers"][begin:end], dtype=np.int64),
        )

    def identifier(self, place: int) -> str:
        """Return the id of a crystal."""
        begin, end = self.arrays["id_starts"][place : place + 2].tolist()
        return bytes(self.arrays["id_text"][begin:end]).decode()

    def reduced(self, place: int) -> ReducedCell | None:
        """Return the reduced cell of a crystal if it is there, and whole."""
        if "reduced_check" not in self.arrays:
            return None
        check, n_sites = self.arrays["reduced_check"][place], self.arrays["reduced_sites"][place]
        begin, end = self.arrays["starts"][place : place + 2].tolist()
        if check == 0 or not 0 < n_sites <= end - begin:
            return None
        cell = ReducedCell(
            np.array(self.arrays["reduced_lattice"][place]),
            np.array(self.arrays["reduced_frac"][begin : begin + n_sites]),
            np.array(self.arrays["reduced_kinds"][begin : begin + n_sites], dtype=np.int64),
        )
        # A machine that stopped may have written the one and not the other.
        return cell if check == _check(cell) else None

    def keep_reduced(self, place: int, cell: ReducedCell) -> None:
        """Write a reduced cell down, unless the folder is for reading only.

        Two workers that do it at once write the same.
        """
        if not self.arrays["reduced_check"].flags.writeable:
            return
        begin = int(self.arrays["starts"][place])
        end = begin + len(cell)
        self.arrays["reduced_lattice"][place] = cell.lattice
        self.arrays["reduced_frac"][begin:end] = cell.frac
        self.arrays["reduced_kinds"][begin:end] = cell.kinds
        self.arrays["reduced_sites"][place] = len(cell)
        self.arrays["reduced_check"][place] = _check(cell)

    def save(self, folder: Path) -> None:
        """Write the arrays into a folder, with room for reduced cells."""
        for name in _FIXED:
            np.save(folder / f"{name}.npy", self.arrays[name])
        n_sites = len(self.arrays["numbers"])
        shapes = ((len(self), 3, 3), (n_sites, 3), (n_sites,), (len(self),), (len(self),))
        for (name, dtype), shape in zip(_REDUCED.items(), shapes, strict=True):
            # An array of length 0 cannot be mapped.
            np.save(folder / f"{name}.npy", np.zeros(shape, dtype))

    @classmethod
    def opened(cls, folder: Path) -> PackedCrystals:
        """Return the crystals of a folder, mapped; reduced cells can be kept if it is writable.

        Raises:
            BadFile: an array is missing, torn or of another kind.
        """
        arrays = {}
        try:
            for name, dtype in {**_FIXED, **_REDUCED}.items():
                path = folder / f"{name}.npy"
                kept = name in _REDUCED and os.access(path, os.W_OK)
                array = np.load(path, mmap_mode="r+" if kept else "r")
                if array.dtype != dtype:
                    raise BadFile(f"{path} holds {array.dtype}; expected {np.dtype(dtype)}")
                arrays[name] = array
        except (OSError, ValueError, EOFError) as error:
            raise BadFile(f"cannot read the packed crystals in {folder}: {error}") from None
        packed = cls(arrays)
        n, n_sites = len(packed), len(arrays["numbers"])
        lengths = {"starts": n + 1, "id_starts": n + 1, "frac": n_sites, "lattice": n}
        lengths |= {"reduced_frac": n_sites, "reduced_kinds": n_sites, "reduced_lattice": n}
        lengths |= {"reduced_sites": n, "reduced_check": n}
        wrong = [name for name, length in lengths.items() if len(arrays[name]) != length]
        if wrong or arrays["starts"][-1] != n_sites or arrays["bucket_starts"][-1] != n:
            raise BadFile(f"the packed crystals in {folder} do not fit together: {wrong}")
        return packed


def formula_digest(key: CompositionKey) -> int:
    """Return 64 bits of a digest of a reduced formula."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")


def _starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))]).astype(np.int64)


def _check(cell: ReducedCell) -> np.uint32:
    parts = (cell.lattice.tobytes(), cell.frac.tobytes(), cell.kinds.astype(np.uint8).tobytes())
    return np.uint32(zlib.crc32(b"".join(parts)) or 1)
