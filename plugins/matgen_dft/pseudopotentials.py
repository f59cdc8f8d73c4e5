"""Pseudopotentials in a folder: which file is an element's, and what its header says.

Reads the headers of UPF files, versions 1 and 2. Where the folder has the table
of the SSSP library (``SSSP*.json``), that chooses the files and knows their cutoffs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matgen.elements import symbols
from matgen.errors import BadCrystal, BadFile, BadOptions

_PBE: Final = frozenset({"SLA", "PW", "PBX", "PBC", "PBE"})
"""Words with which headers spell the functional of Perdew, Burke and Ernzerhof."""
_HEAD_BYTES: Final = 200_000
"""Headers end long before."""


@dataclass(frozen=True)
class Pseudopotential:
    """What the header of a file says.

    Attributes:
        path: The file.
        element: Its symbol.
        valence: Electrons that are not in the core.
        functional: As the header spells it, single spaces, upper case.
        spin_orbit: Whether it is for calculations with spin-orbit coupling only.
    """

    path: Path
    element: str
    valence: float
    functional: str
    spin_orbit: bool

    @property
    def is_pbe(self) -> bool:
        """Whether it was made with PBE."""
        words = set(self.functional.split())
        return words <= _PBE and ("PBE" in words or {"PBX", "PBC"} <= words)

    @classmethod
    def read(cls, path: Path) -> Pseudopotential:
        """Read a header.

        Raises:
            BadFile: it is no UPF file, or its header lacks something.
        """
        try:
            with path.open("rb") as file:
                whole = file.read(_HEAD_BYTES).decode("utf-8", errors="replace")
            told, text = _parts(whole)
            # Version 1 says it nowhere else.
            spin_orbit = "fully-relativistic" in told.lower()
            if "=" in text.split(">", 1)[0]:
                return cls._of_attributes(path, text, spin_orbit=spin_orbit)
            return cls._of_lines(path, text, spin_orbit=spin_orbit)
        except (OSError, StopIteration, ValueError) as error:
            raise BadFile(f"{path} is no UPF pseudopotential that can be read: {error}") from None

    @classmethod
    def _of_attributes(cls, path: Path, text: str, *, spin_orbit: bool) -> Pseudopotential:
        fields = {key: value.strip() for key, value in re.findall(r'(\w+)\s*=\s*"([^"]*)"', text)}
        if not {"element", "z_valence", "functional"} <= set(fields):
            raise ValueError("its header lacks element, z_valence or functional")
        return cls(
            path,
            fields["element"],
            float(fields["z_valence"].replace("D", "E")),
            " ".join(fields["functional"].upper().replace("-", " ").split()),
            spin_orbit or fields.get("has_so", "f").lower().strip(".").startswith("t"),
        )

    @classmethod
    def _of_lines(cls, path: Path, text: str, *, spin_orbit: bool) -> Pseudopotential:
        lines = [line.strip() for line in text.splitlines()]
        element = next(line.split()[0] for line in lines if line.endswith("Element"))
        valence = next(line.split()[0] for line in lines if line.endswith("Z valence"))
        functional = next(line for line in lines if "Exchange-Correlation" in line)
        # The short name follows the four parts: SLA PW PBE PBE   PBE.
        parts = functional.split("Exchange-Correlation")[0].upper().split()
        return cls(path, element, float(valence), " ".join(parts), spin_orbit)


@dataclass(frozen=True)
class Cutoffs:
    """Of plane waves and of the density, Ry."""

    waves: float
    density: float


class PseudopotentialFolder:
    """The pseudopotentials of a folder."""

    def __init__(self, folder: Path, chosen: Mapping[str, str], *, any_functional: bool) -> None:
        """List the files; headers are read when an element is asked for.

        Args:
            folder: Where they are.
            chosen: Element to file name, where the user says which.
            any_functional: Take other functionals than PBE.

        Raises:
            BadOptions: no such folder, or no such file.
            BadFile: the table of the SSSP library cannot be read.
        """
        self._folder = folder
        self._any = any_functional
        if not folder.is_dir():
            raise BadOptions(
                f"there is no folder of pseudopotentials {folder}; get the SSSP library and say "
                "where it is: --pseudo DIR"
            )
        unknown = [name for name in chosen.values() if not (folder / name).is_file()]
        if unknown:
            raise BadOptions(f"there is no pseudopotential {unknown[0]} in {folder}")
        self._table = _sssp(folder)
        self._chosen = {
            **{element: str(row["filename"]) for element, row in self._table.items()},
            **chosen,
        }
        self._found: dict[str, Pseudopotential] = {}

    def of(self, number: int) -> Pseudopotential:
        """Return the pseudopotential of an element.

        Raises:
            BadCrystal: there is none, there are several, or it is not of PBE.
        """
        element = symbols[number]
        if element not in self._found:
            self._found[element] = self._choose(element)
        return self._found[element]

    def cutoffs(self, numbers: Sequence[int], least: Cutoffs) -> Cutoffs:
        """Return the largest cutoffs that SSSP's table gives for elements, at least ``least``."""
        rows = [self._table[symbols[z]] for z in numbers if symbols[z] in self._table]
        return Cutoffs(
            max([least.waves, *(float(row["cutoff_wfc"]) for row in rows)]),
            max([least.density, *(float(row["cutoff_rho"]) for row in rows)]),
        )

    def _choose(self, element: str) -> Pseudopotential:
        if element in self._chosen:
            path = self._folder / self._chosen[element]
            if not path.is_file():
                raise BadCrystal(f"{path.name}, the pseudopotential of {element}, is not there")
            one = Pseudopotential.read(path)
            self._refuse_other(one)
            return one
        found = [Pseudopotential.read(path) for path in self._named(element)]
        fits = [
            one
            for one in found
            if one.element == element and not one.spin_orbit and (one.is_pbe or self._any)
        ]
        if not fits:
            others = f"; there are {_names(found)} of other functionals" if found else ""
            raise BadCrystal(f"no PBE pseudopotential of {element} in {self._folder}{others}")
        if len(fits) > 1:
            raise BadCrystal(
                f"several pseudopotentials of {element} in {self._folder}: {_names(fits)}; choose "
                f"one: --set 'calculation.files={{{element} = \"{fits[0].path.name}\"}}'"
            )
        return fits[0]

    def _refuse_other(self, one: Pseudopotential) -> None:
        if not one.is_pbe and not self._any:
            raise BadCrystal(
                f"{one.path.name} was made with {one.functional}, and the calculation is PBE; to "
                "use it all the same: --set calculation.any_functional=true"
            )

    def _named(self, element: str) -> list[Path]:
        """Return the files whose name begins with the element, as is the custom."""
        return sorted(
            path
            for path in self._folder.iterdir()
            if path.suffix.lower() == ".upf"
            and re.match(rf"{element}(?![a-z])", path.name, re.IGNORECASE)
        )


def _parts(text: str) -> tuple[str, str]:
    """Return what is told to people before the header, and the header, or its one tag."""
    match = re.search(r"<PP_HEADER(.*?)(/>|</PP_HEADER>)", text, re.DOTALL)
    if match is None:
        raise ValueError("it has no header")
    return text[: match.start()], match.group(1)


def _sssp(folder: Path) -> Mapping[str, Mapping[str, Any]]:  # JSON values
    tables = sorted(folder.glob("SSSP*.json"))
    if not tables:
        return {}
    if len(tables) > 1:
        raise BadOptions(f"{folder} holds several SSSP tables; leave one there")
    try:
        table = json.loads(tables[0].read_text(encoding="utf-8"))
        return {
            element: {key: row[key] for key in ("filename", "cutoff_wfc", "cutoff_rho")}
            for element, row in table.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFile(f"{tables[0]} is no table of the SSSP library: {error!r}") from None


def _names(found: Sequence[Pseudopotential]) -> str:
    return ", ".join(one.path.name for one in found)
