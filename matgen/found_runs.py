"""The runs below a folder, damaged ones among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from matgen.errors import BadFile
from matgen.stored_run import RunState, StoredRun, last_written, read_run


@dataclass(frozen=True, slots=True)
class DamagedRun:
    """A run directory whose ``run.json`` cannot be read."""

    folder: Path
    problems: tuple[str, ...]

    @property
    def created(self) -> datetime:
        """When something was last written there."""
        return last_written(self.folder)

    @property
    def state(self) -> RunState:
        """Damaged."""
        return RunState.DAMAGED


def find_runs(folder: Path) -> list[StoredRun | DamagedRun]:
    """Return the runs in a folder, and those one level below it; the newest first."""
    found = [read_or_damaged(path) for path in _run_folders(folder, levels=2)]
    return sorted(found, key=lambda run: (run.created, run.folder.name), reverse=True)


def read_or_damaged(folder: Path) -> StoredRun | DamagedRun:
    """Return the run in a folder, whatever its state."""
    try:
        return read_run(folder)
    except BadFile as error:
        return DamagedRun(folder, (str(error),))


def _run_folders(folder: Path, levels: int) -> Iterator[Path]:
    # Without its run.json what is left still was a run. Parts of a run are none themselves.
    if (folder / "run.json").exists() or (folder / "metrics.jsonl").exists():
        yield folder
    elif levels:
        for path in sorted(folder.iterdir()):
            if (
                path.is_dir()
                and not path.name.startswith(".")
                and os.access(path, os.R_OK | os.X_OK)
            ):
                yield from _run_folders(path, levels - 1)
