"""The dataset of the toy set: cubic cells from the first chapter of any textbook.

Lattice constants at room temperature, rounded to 0.01 Å.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from matgen import Crystal, DatasetSource, Record
from matgen.records import Skipped
from matgen.roles.dataset import Split

_FCC: Final = ((0, 0, 0), (0, 2, 2), (2, 0, 2), (2, 2, 0))
_FCC_HALF: Final = ((2, 2, 2), (2, 0, 0), (0, 2, 0), (0, 0, 2))
_FCC_QUARTER: Final = ((1, 1, 1), (1, 3, 3), (3, 1, 3), (3, 3, 1))
_EDGES: Final = ((2, 0, 0), (0, 2, 0), (0, 0, 2))
_FACES: Final = ((0, 2, 2), (2, 0, 2), (2, 2, 0))
_ORIGIN: Final = ((0, 0, 0),)
_BODY: Final = ((2, 2, 2),)

_Orbits = tuple[tuple[int, tuple[tuple[int, int, int], ...]], ...]

_CELLS: Final[dict[Split, dict[str, tuple[float, _Orbits]]]] = {
    "train": {
        "Po": (3.36, ((84, _ORIGIN),)),
        "Fe": (2.87, ((26, _ORIGIN + _BODY),)),
        "W": (3.17, ((74, _ORIGIN + _BODY),)),
        "CsCl": (4.12, ((55, _ORIGIN), (17, _BODY))),
        "CsI": (4.57, ((55, _ORIGIN), (53, _BODY))),
        "Cu": (3.61, ((29, _FCC),)),
        "Al": (4.05, ((13, _FCC),)),
        "Cu3Au": (3.75, ((79, _ORIGIN), (29, _FACES))),
        "ReO3": (3.75, ((75, _ORIGIN), (8, _EDGES))),
        "SrTiO3": (3.91, ((38, _BODY), (22, _ORIGIN), (8, _EDGES))),
        "NaCl": (5.64, ((11, _FCC), (17, _FCC_HALF))),
        "KCl": (6.29, ((19, _FCC), (17, _FCC_HALF))),
        "Si": (5.43, ((14, _FCC + _FCC_QUARTER),)),
        "ZnS": (5.41, ((30, _FCC), (16, _FCC_QUARTER))),
    },
    "val": {
        "TlCl": (3.83, ((81, _ORIGIN), (17, _BODY))),
        "Ag": (4.09, ((47, _FCC),)),
        "LiF": (4.02, ((3, _FCC), (9, _FCC_HALF))),
    },
}
"""Formula to lattice constant (Å) and orbits: atomic number, sites in quarters of the cell."""


class Textbook(DatasetSource):
    """Fourteen cubic crystals to learn, three to check on."""

    name = "textbook"

    @property
    def units(self) -> Mapping[str, str]:
        """No properties: the conditions of this set are read off the crystals."""
        return {}

    @property
    def reduced(self) -> bool:
        """True, to keep the cells: primitive cells of the centred ones would not be cubic."""
        return True

    def records(
        self,
        split: Split,
        *,
        on_skip: Callable[[Skipped], None] | None = None,  # noqa: ARG002 - nothing is skipped
    ) -> Iterator[Record]:
        """Yield the conventional cells of one split."""
        for formula, (length_ang, orbits) in _CELLS[split].items():
            sites = [(number, site) for number, where in orbits for site in where]
            yield Record(
                formula,
                Crystal(
                    length_ang * np.eye(3),
                    np.array([site for _, site in sites]) / 4.0,
                    np.array([number for number, _ in sites], dtype=np.int64),
                ),
            )

    def fingerprint(self) -> str:
        """Return a hash of the table."""
        return hashlib.sha256(repr(_CELLS).encode()).hexdigest()
