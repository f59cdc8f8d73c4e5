"""Sources of crystals: two sets that come with matgen, and the user's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen import DatasetSource


@hookimpl
def matgen_datasets() -> list[type[DatasetSource]]:
    from matgen_datasets.files import Files
    from matgen_datasets.imported import Imported
    from matgen_datasets.jarvis import Jarvis
    from matgen_datasets.mp_le20 import MpLe20

    return [MpLe20, Jarvis, Files, Imported]
