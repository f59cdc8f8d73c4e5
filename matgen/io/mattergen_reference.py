"""MatterGen's reference files: an LMDB of computed entries, gzipped or not.

Keys are ``name``, ``chemical_systems``, ``<system>.reduced_formulas``,
``<system>.<formula>.length`` and ``<system>.<formula>.<i>``; every value is a pickle of plain
containers. A pickle may run any code when it is read, so it is read here by an unpickler that knows
no classes but dictionaries of numpy numbers: anything else is refused, and nothing is ever called.

Source: ``evaluation/reference/reference_dataset_serializer.py`` of microsoft/mattergen.
"""

from __future__ import annotations

import gzip
import io
import math
import pickle
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from matgen.errors import BadFile, MissingDependency
from matgen.io.git_lfs import refuse_pointer
from matgen.io.hull_file import Fractions

_GZIP: Final = b"\x1f\x8b"
_LMDB_MAGIC: Final = struct.pack("<I", 0xBEEFC0DE)
_LMDB_MAGIC_AT: Final = 16
"""Place of the magic number in a data file: after a page's header. Source: lmdb's mdb.c."""
SCALES: Final = {"MP2020correction": "mp2020", "TRI2024correction": "tri2024"}
"""Name that a file gives itself to the energy scale of its entries."""
TRI_REMARK: Final = (
    "the TRI2024 file published before July 2026 applies its factor to energies that hold MP2020's "
    "anion corrections (microsoft/mattergen issue 251): compounds of corrected anions lie tens of "
    "meV/atom too low in it"
)


def is_mattergen_reference(path: Path) -> bool:
    """Whether a file is an LMDB, or a gzipped one."""
    refuse_pointer(path)
    try:
        with path.open("rb") as file:
            start = file.read(32)
        if start[:2] == _GZIP:
            with gzip.open(path) as packed:
                start = packed.read(32)
    except (OSError, EOFError):
        return False
    return start[_LMDB_MAGIC_AT : _LMDB_MAGIC_AT + 4] == _LMDB_MAGIC


@contextmanager
def opened(path: Path) -> Iterator[MatterGenReference]:
    """Open a reference file; a gzipped one is unpacked into a temporary folder first.

    Raises:
        BadFile: no such file, damaged, a git-LFS pointer, or of another layout.
        MissingDependency: lmdb is not installed.
    """
    refuse_pointer(path)
    try:
        import lmdb
    except ModuleNotFoundError:
        raise MissingDependency(
            "MatterGen's reference files need lmdb; pip install matgen[mattergen-reference]"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        plain = _unpacked(path, Path(folder))
        try:
            environment = lmdb.open(
                str(plain), subdir=False, readonly=True, lock=False, create=False
            )
        except lmdb.Error as error:
            raise BadFile(f"{path} is no LMDB of MatterGen: {error}") from None
        try:
            with environment.begin() as transaction:
                yield MatterGenReference(path, transaction.get)
        finally:
            environment.close()


class MatterGenReference:
    """The entries of an opened file."""

    def __init__(self, path: Path, get: Callable[[bytes], bytes | None]) -> None:
        self._path = path
        self._get = get
        self.name = str(self._value("name"))
        systems = self._value("chemical_systems")
        if not isinstance(systems, list | tuple):
            raise BadFile(f"{path}: its chemical systems are no list")
        self.systems: list[str] = [str(system) for system in systems]

    def energies(self) -> Iterator[tuple[str, Fractions, float]]:
        """Yield key, atomic fractions and corrected energy of each entry, eV/atom.

        The energy is NaN where MatterGen has none (disordered entries).

        Raises:
            BadFile: an entry is missing, or holds what an entry does not.
        """
        for system in self.systems:
            for formula in self._value(f"{system}.reduced_formulas"):
                for number in range(int(self._value(f"{system}.{formula}.length"))):
                    key = f"{system}.{formula}.{number}"
                    yield key, *self._energy(key)

    def _energy(self, key: str) -> tuple[Fractions, float]:
        entry = self._value(key)
        try:
            counts = {str(s): float(n) for s, n in entry["composition"].items()}
            # pymatgen writes the uncorrected energy and the sum of what is added to it.
            added = float(entry.get("correction") or 0.0)
            energy = float(entry["energy"] if entry["energy"] is not None else math.nan)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadFile(f"{self._path}: {key} is no computed entry ({error!r})") from None
        total = sum(counts.values())
        return {symbol: n / total for symbol, n in counts.items()}, (energy + added) / total

    def _value(self, key: str) -> Any:  # plain containers
        packed = self._get(key.encode("ascii", "replace"))
        if packed is None:
            raise BadFile(f"{self._path} is no reference of MatterGen: it has no key {key!r}")
        return plain_pickle(packed, f"{self._path}, {key}")


def plain_pickle(packed: bytes, where: str) -> Any:  # plain containers
    """Return what a pickle of plain containers and numpy numbers holds; nothing in it is called.

    Raises:
        BadFile: it names anything else, or is damaged; ``where`` begins the message.
    """
    try:
        return _Plain(io.BytesIO(packed)).load()
    except _Foreign as error:
        raise BadFile(
            f"{where} holds a pickled {error}, which could run code when it is read; write the "
            "entries anew with energy and composition as plain numbers (entry.as_dict()), or "
            "export composition and energy_per_atom as a table"
        ) from None
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, TypeError,
            AttributeError, struct.error, OverflowError, MemoryError) as error:  # fmt: skip
        raise BadFile(f"{where} is damaged ({type(error).__name__}: {error})") from None


class _Foreign(Exception):
    """A pickle names something that is not read here; the text is its name."""


class _Plain(pickle.Unpickler):
    """Knows the two names that a numpy number is pickled by, and puts our own in their place."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for a numpy name, a new one each time; refuse all others.

        A pickle may set attributes of what it names: it gets nothing that outlives it.
        """
        if (module, name) == ("numpy", "dtype"):
            return type("Dtype", (_Dtype,), {})
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "scalar":
            return partial(_number)
        raise _Foreign(f"{module}.{name}")


class _Dtype:
    """A numpy type of numbers, as a pickle describes it."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:  # noqa: FBT001, FBT002 - as numpy
        del align, copy
        if code not in ("f8", "f4", "i8", "i4", "b1"):
            raise _Foreign(f"numpy number of type {code!r}")
        self.code = code
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.order = str(state[1])


def _number(dtype: object, packed: object) -> float | int | bool:
    if not isinstance(dtype, _Dtype) or not isinstance(packed, bytes):
        raise _Foreign("numpy scalar of objects")
    letter = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "b1": "?"}[dtype.code]
    value: float | int | bool = struct.unpack(dtype.order + letter, packed)[0]
    return value


def _unpacked(path: Path, folder: Path) -> Path:
    try:
        with path.open("rb") as file:
            if file.read(2) != _GZIP:
                return path
        plain = folder / "reference.lmdb"
        with gzip.open(path) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
    except (OSError, EOFError) as error:
        raise BadFile(f"cannot read {path}: {error}") from None
    return plain
