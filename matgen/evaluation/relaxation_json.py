"""Crystals and relaxations as JSON values: in the log of a run, in the cache, between processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from matgen.records import Crystal, Relaxation


def crystal_to_json(crystal: Crystal) -> dict[str, object]:
    """Return a crystal as lists; floats come back bit for bit.

    Numbers that are not finite, and shapes that no crystal has, are left to the reader.
    """
    return {
        "lattice": crystal.lattice.tolist(),
        "frac": crystal.frac.tolist(),
        "numbers": crystal.numbers.tolist(),
        "oxidation": None if crystal.oxidation is None else crystal.oxidation.tolist(),
    }


def crystal_from_json(saved: Mapping[str, Any]) -> Crystal:  # JSON values
    """Return the crystal that ``crystal_to_json`` wrote.

    Raises:
        KeyError, TypeError, ValueError: it did not.
    """
    oxidation = saved["oxidation"]
    frac = np.array(saved["frac"], dtype=np.float64)
    return Crystal(
        np.array(saved["lattice"], dtype=np.float64),
        frac if frac.size else frac.reshape(-1, 3),
        np.array(saved["numbers"], dtype=np.int64),
        None if oxidation is None else np.array(oxidation, dtype=np.int64),
    )


def relaxation_to_json(relaxation: Relaxation) -> dict[str, object]:
    """Return a relaxation as JSON values."""
    crystal = relaxation.crystal
    return {
        "crystal": None if crystal is None else crystal_to_json(crystal),
        "energy": relaxation.energy,
        "initial_energy": relaxation.initial_energy,
        "converged": relaxation.converged,
        "n_steps": relaxation.n_steps,
        "seconds": relaxation.seconds,
        "error": relaxation.error,
    }


def relaxation_from_json(saved: Mapping[str, Any]) -> Relaxation:  # JSON values
    """Return the relaxation that ``relaxation_to_json`` wrote.

    Raises:
        KeyError, TypeError, ValueError: it did not.
    """
    crystal = saved["crystal"]
    return Relaxation(
        None if crystal is None else crystal_from_json(crystal),
        energy=_number(saved["energy"]),
        initial_energy=_number(saved["initial_energy"]),
        converged=bool(saved["converged"]),
        n_steps=int(saved["n_steps"]),
        seconds=float(saved["seconds"]),
        error=str(saved["error"]),
    )


def _number(value: object) -> float | None:
    if value is None or isinstance(value, int | float):
        return None if value is None else float(value)
    raise TypeError(f"{value!r} is no energy")
