"""Fingerprints of many crystals: each distinct one once, in the pool, and kept in a file if asked.

A test set of nine thousand crystals costs an hour of processor time, every time it is compared
with, unless its fingerprints are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from matgen.atomic import replacing
from matgen.records import Crystal
from matgen.roles.executor import Pool
from matgen_metrics.divergence import Floats
from matgen_metrics.fingerprints import N_FEATURES, Failure, digest, structure_fingerprint

log = logging.getLogger(__name__)


def fingerprints(
    crystals: Sequence[Crystal | None], pool: Pool, *, seconds: float, kept: Path | None = None
) -> list[Floats | Failure | None]:
    """Return the structure fingerprint of each crystal, None where there is no crystal.

    Args:
        seconds: Processor time that one may take.
        kept: File of fingerprints to take from and add to.
    """
    digests = [None if crystal is None else digest(crystal) for crystal in crystals]
    known: dict[str, Floats | Failure] = dict(_read(kept)) if kept is not None else {}
    missing = {
        key: crystal
        for key, crystal in zip(digests, crystals, strict=True)
        if key is not None and crystal is not None and key not in known
    }
    task = partial(structure_fingerprint, seconds=seconds)
    known.update(zip(missing, pool.map(task, list(missing.values())), strict=True))
    if kept is not None and missing:
        keep(kept, known)
    return [None if key is None else known[key] for key in digests]


def keep(path: Path, known: Mapping[str, Floats | Failure]) -> None:
    """Write fingerprints by ``digest`` to a file; those that failed are left out."""
    found = {key: value for key, value in known.items() if not isinstance(value, str)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            digests=np.array(list(found), dtype="U64"),
            fingerprints=_stacked(found.values()),
            made_by=np.array(_made_by()),
        )


def _read(path: Path) -> Mapping[str, Floats]:
    """Return what a file holds; nothing if it is of another pymatgen, or no such file."""
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as saved:
            keys, values, made_by = saved["digests"], saved["fingerprints"], str(saved["made_by"])
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        log.warning("%s holds no fingerprints and is written anew: %s", path, error)
        return {}
    if made_by != _made_by() or values.shape != (len(keys), N_FEATURES):
        log.warning("%s was made by %s and is written anew by %s", path, made_by, _made_by())
        return {}
    return dict(zip(keys.tolist(), values, strict=True))


def _stacked(rows: Iterable[Floats]) -> Floats:
    return np.array(list(rows), dtype=np.float64).reshape(-1, N_FEATURES)


def _made_by() -> str:
    return f"pymatgen {version('pymatgen')}"
