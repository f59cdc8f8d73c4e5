"""Finished relaxations on disk, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from matgen.atomic import write_text
from matgen.errors import BadFile
from matgen.records import Crystal, Relaxation

if TYPE_CHECKING:
    from matgen.roles.relaxer import Relaxer


def relaxation_key(crystal: Crystal, relaxer: Relaxer, device: str) -> str:
    """Return a hash of everything that decides what a relaxation gives."""
    from importlib.metadata import PackageNotFoundError, version

    kind = type(relaxer)
    # The potential's package is named like its relaxer; a new release may change energies.
    try:
        release = version(relaxer.name)
    except PackageNotFoundError:
        release = ""
    settings = json.dumps(relaxer.model_dump(mode="json"), sort_keys=True)
    digest = hashlib.sha256()
    for text in (kind.__module__, kind.__qualname__, str(kind.revision), release, settings, device):
        digest.update(text.encode() + b"\0")
    for array, dtype in (
        (crystal.lattice, "<f8"),
        (crystal.frac, "<f8"),
        (crystal.numbers, "<i8"),
    ):
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return digest.hexdigest()


class RelaxationLog:
    """A file of JSON lines, one per finished relaxation."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line cut off by a crash is dropped.

        Raises:
            BadFile: a line before the last is damaged.
        """
        self._path = path
        self.known: dict[str, Relaxation] = {}
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                entry = json.loads(line)
                self.known[entry["key"]] = _relaxation(entry)
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines):
                    break
                raise BadFile(
                    f"{path}, line {number} is damaged ({error}); delete the file to relax anew"
                ) from None
        if lines and lines[-1]:
            # So that the next line does not go on in the middle of the broken one.
            write_text(path, "".join(f"{line}\n" for line in lines[:-1] if line))

    def append(self, finished: Iterable[tuple[str, Relaxation]]) -> None:
        """Add relaxations and have them on disk before returning."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            for key, relaxation in finished:
                file.write(json.dumps(_entry(key, relaxation), allow_nan=False) + "\n")
                self.known[key] = relaxation
            file.flush()
            os.fsync(file.fileno())


def _entry(key: str, relaxation: Relaxation) -> dict[str, object]:
    crystal = relaxation.crystal
    return {
        "key": key,
        "crystal": None
        if crystal is None
        else {
            "lattice": crystal.lattice.tolist(),
            "frac": crystal.frac.tolist(),
            "numbers": crystal.numbers.tolist(),
            "oxidation": None if crystal.oxidation is None else crystal.oxidation.tolist(),
        },
        "energy": relaxation.energy,
        "initial_energy": relaxation.initial_energy,
        "converged": relaxation.converged,
        "n_steps": relaxation.n_steps,
        "seconds": relaxation.seconds,
        "error": relaxation.error,
    }


def _relaxation(entry: Mapping[str, object]) -> Relaxation:
    fields = {name: value for name, value in entry.items() if name not in {"key", "crystal"}}
    saved = entry["crystal"]
    crystal = None
    if isinstance(saved, dict):
        oxidation = saved["oxidation"]
        crystal = Crystal(
            np.array(saved["lattice"], dtype=np.float64),
            np.array(saved["frac"], dtype=np.float64).reshape(-1, 3),
            np.array(saved["numbers"], dtype=np.int64),
            None if oxidation is None else np.array(oxidation, dtype=np.int64),
        )
    return Relaxation(crystal, **fields)  # type: ignore[arg-type]  # JSON values of these fields
