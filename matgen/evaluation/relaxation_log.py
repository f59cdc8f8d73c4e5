"""Finished relaxations on disk, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from matgen.atomic import write_text
from matgen.errors import BadFile
from matgen.evaluation.relaxation_json import relaxation_from_json, relaxation_to_json
from matgen.records import Crystal, Relaxation

if TYPE_CHECKING:
    from matgen.roles.relaxer import Relaxer


class RelaxationKeys:
    """Hashes of everything that decides what a relaxation gives."""

    def __init__(self, relaxer: Relaxer, device: str) -> None:
        kind = type(relaxer)
        settings = json.dumps(relaxer.model_dump(mode="json"), sort_keys=True)
        texts = (
            kind.__module__, kind.__qualname__, str(kind.revision), relaxer.fingerprint(), settings,
            device,
        )  # fmt: skip
        self._potential = hashlib.sha256()
        for text in texts:
            self._potential.update(text.encode() + b"\0")

    def of(self, crystal: Crystal) -> str:
        """Return the key of a crystal: equal arrays, equal key."""
        digest = self._potential.copy()
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
                self.known[entry["key"]] = relaxation_from_json(entry)
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
                entry = {"key": key, **relaxation_to_json(relaxation)}
                file.write(json.dumps(entry, allow_nan=False) + "\n")
                self.known[key] = relaxation
            file.flush()
            os.fsync(file.fileno())
