"""Relaxations that any run on this machine may take up again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from matgen.atomic import write_text
from matgen.evaluation.relaxation_json import relaxation_from_json, relaxation_to_json
from matgen.records import Relaxation
from matgen.roles.relaxer import Relaxer

log = logging.getLogger(__name__)


class RelaxationCache:
    """A folder with a file per relaxation, named by its key.

    Files are only ever added, each whole or absent, so any number of processes may use the folder
    at once, and deleting it, or any file of it, does no harm.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Relaxation | None:
        """Return what is kept under a key, None if nothing is, or nothing that can be read."""
        path = self._path(key)
        try:
            return relaxation_from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("relaxing anew what %s should hold: %s", path, error)
            return None

    def put(self, key: str, relaxation: Relaxation, relaxer: Relaxer) -> None:
        """Keep a relaxation that would come out the same again.

        What the clock or the machine ended is not kept: a crystal that this machine had no time or
        memory for may fare better on the next, or in an hour.
        """
        ended_by_itself = relaxation.converged or relaxation.n_steps >= relaxer.max_steps
        if relaxation.crystal is not None and ended_by_itself:
            text = json.dumps(relaxation_to_json(relaxation), allow_nan=False)
            write_text(self._path(key), text)

    def _path(self, key: str) -> Path:
        # Folders of a million files are slow on some file systems.
        return self._folder / key[:2] / f"{key}.json"
