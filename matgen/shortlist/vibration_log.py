"""Vibrations that are done, a file each, so that a stopped command goes on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from matgen.atomic import write_json
from matgen.records import Crystal
from matgen.roles.relaxer import Relaxer
from matgen.shortlist.phonons import Vibrations


class VibrationLog:
    """A folder with a file per crystal and potential."""

    def __init__(self, folder: Path, relaxer: Relaxer) -> None:
        self._folder = folder
        kind = type(relaxer)
        self._potential = (
            f"{kind.__module__}.{kind.__qualname__} {kind.revision} {relaxer.fingerprint()} "
            f"{relaxer.model_dump_json()}"
        )

    def get(self, crystal: Crystal) -> Vibrations | None:
        """Return what is kept of a crystal, None if nothing is, or nothing that can be read."""
        try:
            return Vibrations(**json.loads(self._path(crystal).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def put(self, crystal: Crystal, found: Vibrations) -> None:
        """Keep vibrations."""
        write_json(self._path(crystal), asdict(found))

    def _path(self, crystal: Crystal) -> Path:
        digest = hashlib.sha256(self._potential.encode())
        for array in (crystal.lattice, crystal.frac, crystal.numbers):
            digest.update(np.ascontiguousarray(array).tobytes())
        return self._folder / f"{digest.hexdigest()[:16]}.json"
