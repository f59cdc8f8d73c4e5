"""Where models are found by name: the shipped one, run directories, and those that were pulled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matgen.errors import BadFile
from matgen.run_dir import shipped_model

SHIPPED: Final = "default"
"""Name of the model that comes with matgen."""


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model that can be used by its name.

    Attributes:
        name: For ``--model``.
        folder: A run directory with weights.
    """

    name: str
    folder: Path


def models_folder() -> Path:
    """Return where pulled models are kept."""
    return Path.home() / ".cache" / "matgen" / "models"


def find_model(name: str | Path | None = None) -> Path:
    """Return the run directory that a name stands for.

    ``default`` and None are the shipped model (a folder of that name is ``./default``); else a
    folder that exists, else what was pulled under the name.

    Raises:
        BadFile: nothing of that name; says what there is.
    """
    if name is None or str(name) == SHIPPED:
        return shipped_model()
    folder = Path(name)
    if folder.is_dir():
        return folder
    for model in named_models():
        if model.name == str(name):
            return model.folder
    known = ", ".join(model.name for model in named_models())
    raise BadFile(
        f"no run directory and no model is called {name}; known models: {known} "
        "(matgen model pull fetches others)"
    )


def named_models() -> list[NamedModel]:
    """Return the shipped models, the default one first, then those that were pulled, by name."""
    default = shipped_model()
    shipped = [default, *(path for path in _runs_in(default.parent) if path != default)]
    return [NamedModel(path.name, path) for path in (*shipped, *_runs_in(models_folder()))]


def _runs_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/run.json"))
