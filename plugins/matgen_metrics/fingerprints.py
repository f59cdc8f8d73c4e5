"""Structure fingerprints: how much each site looks like an octahedron, a tetrahedron, and so on.

Source: Zimmermann and Jain, RSC Adv. 10, 6063 (2020): CrystalNN neighbours, and for every
coordination number its weight and the weighted order parameters of its motifs; the "ops" preset of
matminer's CrystalNNFingerprint, averaged over the sites as CDVAE does. Only pymatgen is needed,
which has the neighbour finder, the order parameters and their settings.
"""

from __future__ import annotations

import hashlib
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from matgen.evaluation.matching import comparable
from matgen.evaluation.time_limit import OutOfTime, time_limit
from matgen.records import Crystal
from matgen_metrics.divergence import Floats

if TYPE_CHECKING:
    from pymatgen.analysis.local_env import CrystalNN, LocalStructOrderParams
    from pymatgen.core.structure import Structure

N_FEATURES: Final = 61
_LARGEST_COORDINATION: Final = 24
_BOND_ORIENTATIONAL: Final = ("q2", "q4", "q6")
_MOTIFS: Final[dict[int, tuple[str, ...]]] = {
    1: ("sgl_bd",),
    2: ("L-shaped", "water-like", "bent 120 degrees", "bent 150 degrees", "linear"),
    3: ("trigonal planar", "trigonal non-coplanar", "T-shaped"),
    4: (
        "square co-planar",
        "tetrahedral",
        "rectangular see-saw-like",
        "see-saw-like",
        "trigonal pyramidal",
    ),
    5: ("pentagonal planar", "square pyramidal", "trigonal bipyramidal"),
    6: ("hexagonal planar", "octahedral", "pentagonal pyramidal"),
    7: ("hexagonal pyramidal", "pentagonal bipyramidal"),
    8: ("body-centered cubic", "hexagonal bipyramidal"),
    9: _BOND_ORIENTATIONAL,
    10: _BOND_ORIENTATIONAL,
    11: _BOND_ORIENTATIONAL,
    12: ("cuboctahedral", *_BOND_ORIENTATIONAL),
}
"""Coordination number to the motifs it is compared with, in the order of the features."""

Failure: TypeAlias = Literal["failed", "too long"]


def structure_fingerprint(crystal: Crystal, *, seconds: float) -> Floats | Failure:
    """Return the (61,) mean fingerprint of the sites, or in a word why there is none.

    Args:
        seconds: Processor time after which it is given up.
    """
    if not comparable(crystal):
        return "failed"
    try:
        with time_limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = crystal.to_structure()
            sites = np.array([_of_site(structure, index) for index in range(len(structure))])
            mean: Floats = sites.mean(axis=0)
            return mean
    except OutOfTime:
        return "too long"
    except Exception:  # noqa: BLE001 - one sample: any failure is one without a fingerprint
        return "failed"


def digest(crystal: Crystal) -> str:
    """Return the same text for the same arrays, and only for them."""
    found = hashlib.sha256()
    for array in (crystal.lattice, crystal.frac, crystal.numbers):
        found.update(np.ascontiguousarray(array).tobytes())
        found.update(b"|")
    return found.hexdigest()


def _of_site(structure: Structure, index: int) -> list[float]:
    neighbours = _finder().get_nn_data(structure, index)
    features: list[float] = []
    for coordination in range(1, _LARGEST_COORDINATION + 1):
        weight = float(neighbours.cn_weights.get(coordination, 0.0))
        features.append(weight)
        around = [info["site"] for info in neighbours.cn_nninfo[coordination]] if weight else []
        for parameter in _parameters().get(coordination, ()):
            if not weight:
                features.append(0.0)
                continue
            # Any: pymatgen says structure, and takes any sequence of sites.
            sites: Any = [structure[index], *around]
            value = parameter.get_order_parameters(
                sites, 0, indices_neighs=list(range(1, len(sites)))
            )[0]
            # Some motifs have no value for some surroundings.
            features.append(weight * (value or 0.0))
    return features


@cache
def _finder() -> CrystalNN:
    from pymatgen.analysis.local_env import CrystalNN

    return CrystalNN()


@cache
def _parameters() -> dict[int, tuple[LocalStructOrderParams, ...]]:
    """Coordination number to the order parameters of its motifs.

    One object each, although one could hold them all and share the angles: then the settings of
    one motif change the value of another.
    """
    from pymatgen.analysis.local_env import LocalStructOrderParams, cn_opt_params

    found = {}
    for coordination, motifs in _MOTIFS.items():
        known = cn_opt_params.get(coordination, {})
        # Any: pymatgen's settings are a list of a kind, and for some of a dictionary.
        settings: list[list[Any]] = [list(known.get(motif, [motif])) for motif in motifs]
        found[coordination] = tuple(
            LocalStructOrderParams([kind], parameters=[options[0] if options else None])
            for kind, *options in settings
        )
    return found
