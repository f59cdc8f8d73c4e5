"""Whether a model is whole: files as published, weights that fit and are numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matgen.errors import BadFile
from matgen.models.sums import SUMS, differing, read_sums
from matgen.run_dir import load_model

if TYPE_CHECKING:
    from matgen.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found whole.

    Attributes:
        n_files: Files that are what their checksums say; 0 where there are no checksums.
        n_parameters: Learned numbers, all of them finite.
    """

    n_files: int
    n_parameters: int


def verify(folder: Path, catalog: Catalog) -> Verified:
    """Check a run directory or a packed model.

    Raises:
        BadFile: a file is not what its checksum says, weights do not fit, or are not finite.
        NewerFormat, UnknownName: written by a newer matgen; made with a plugin that is missing.
    """
    n_files = 0
    if (folder / SUMS).exists():
        sums = read_sums(folder / SUMS)
        if wrong := differing(folder, sums):
            raise BadFile(f"{folder}: {', '.join(wrong)} missing or not what {SUMS} says")
        n_files = len(sums)
    model, _ = load_model(folder, catalog, device="cpu")
    bad = [name for name, p in model.named_parameters() if not bool(p.isfinite().all())]
    if bad:
        raise BadFile(f"{folder}: weights that are no finite numbers: {', '.join(bad)}")
    return Verified(n_files, model.n_parameters)
