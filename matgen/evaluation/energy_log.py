"""Energies of many crystals by one potential, kept in a file that grows as they come.

A relaxation log keeps relaxed crystals, too, of whatever potentials; this keeps a number a crystal
and one potential: what hull references, calibrations and elemental references are made from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matgen.atomic import write_text
from matgen.errors import BadFile
from matgen.records import Crystal
from matgen.roles.relaxer import Relaxer, RelaxerSession

_FORMAT = 1


@dataclass(frozen=True)
class CrystalEnergy:
    """What a potential said of a crystal.

    Attributes:
        energy_ev: Total energy of the cell, after as many steps as the relaxer was allowed; None
            where ``error`` says why.
        converged: Whether no force exceeded the relaxer's bound at the end.
        n_steps: Steps of the optimiser.
        error: Why there is no energy, else empty.
    """

    energy_ev: float | None
    converged: bool = False
    n_steps: int = 0
    error: str = ""


def energy_settings(relaxer: Relaxer) -> dict[str, Any]:  # JSON
    """Return the settings that decide the energy of a crystal as it stands: not the optimiser's."""
    of_optimiser = {
        name
        for cls in type(relaxer).__mro__
        if cls.__module__ == Relaxer.__module__
        for name in cls.__annotations__
    }
    settings = relaxer.model_dump(mode="json")
    return {name: value for name, value in settings.items() if name not in of_optimiser}


def potential_of(relaxer: Relaxer) -> dict[str, Any]:  # JSON
    """Return what decides the energies of a relaxer: its settings and its package's version."""
    from importlib.metadata import PackageNotFoundError, version

    package = relaxer.package or relaxer.name
    try:
        release = f"{package} {version(package)}"
    except PackageNotFoundError:
        release = ""
    return {
        "relaxer": relaxer.name,
        "package": release,
        "energy_scale": relaxer.energy_scale,
        "settings": relaxer.model_dump(mode="json"),
    }


def crystal_key(crystal: Crystal) -> str:
    """Return a digest of lattice, coordinates and elements, 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for array, dtype in ((crystal.lattice, "<f8"), (crystal.frac, "<f8"), (crystal.numbers, "<i8")):
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return digest.hexdigest()[:32]


class EnergyLog:
    """A file of JSON lines: the potential first, then an energy a line.

    Raises:
        BadFile: the file is of another potential or other settings, or is damaged before its end.
    """

    def __init__(self, path: Path, potential: dict[str, Any]) -> None:  # JSON
        self._path = path
        self.known: dict[str, CrystalEnergy] = {}
        heading = json.dumps({"format": _FORMAT, "potential": potential}, sort_keys=True)
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        if not any(lines[:-1]):
            write_text(path, heading + "\n")
            return
        self._check(lines[0], heading)
        for number, line in enumerate(lines[1:-1], start=2):
            try:
                entry = json.loads(line)
                key = entry.pop("crystal")
                self.known[key] = CrystalEnergy(**entry)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadFile(
                    f"{path}, line {number} is damaged ({error}); delete the file to begin anew"
                ) from None
        if lines[-1]:
            # Cut off by a crash: the next line must not go on in the middle of it.
            write_text(path, "".join(f"{line}\n" for line in lines[:-1]))

    def append(self, key: str, found: CrystalEnergy) -> None:
        """Add an energy and have it on disk before returning."""
        with self._path.open("a", encoding="utf-8") as file:
            entry = {"crystal": key, **asdict(found)}
            file.write(json.dumps(entry, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.known[key] = found

    def _check(self, line: str, heading: str) -> None:
        if line == heading:
            return
        try:
            had = json.loads(line)["potential"]
        except (ValueError, KeyError, TypeError):
            raise BadFile(f"{self._path} is no log of energies; name another file") from None
        wanted = json.loads(heading)["potential"]
        other = [name for name in wanted if had.get(name) != wanted[name]]
        raise BadFile(
            f"{self._path} holds energies of {had.get('relaxer')} that differ in "
            f"{', '.join(other) or 'their format'} ({[had.get(name) for name in other]} there, "
            f"{[wanted[name] for name in other]} now); name another file, or delete it"
        )


def _unobserved(done: int, total: int) -> None:
    """Take no note."""
    del done, total


def energies(
    crystals: Sequence[Crystal],
    relaxer: Relaxer,
    *,
    device: str,
    log: EnergyLog | None = None,
    observer: Callable[[int, int], None] = _unobserved,
) -> Iterator[CrystalEnergy]:
    """Yield the energy of each crystal, in order; those in the log are not computed again.

    Args:
        crystals: Any number.
        relaxer: With ``max_steps=0`` a single point, else the energy of the relaxed crystal.
        device: Torch device of the potential.
        log: Where finished energies are and go.
        observer: Told how many of how many are done.

    Raises:
        MissingDependency: the relaxer's package or weights.
    """
    session: RelaxerSession | None = None
    for done, crystal in enumerate(crystals):
        observer(done, len(crystals))
        key = crystal_key(crystal)
        known = log.known.get(key) if log else None
        if known is None:
            session = session or relaxer.session(device)
            (relaxation,) = session.relax([crystal])
            energy = relaxation.energy
            error = relaxation.error
            if energy is None or not np.isfinite(energy):
                energy, error = None, error or "the energy is not finite"
            known = CrystalEnergy(energy, relaxation.converged, relaxation.n_steps, error)
            if log:
                log.append(key, known)
        yield known
    observer(len(crystals), len(crystals))
