"""Sources of crystals: sets that come with matgen, sets to fetch, and the user's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen import DatasetSource


@hookimpl
def matgen_datasets() -> list[type[DatasetSource]]:
    from matgen_datasets.alex_mp_20 import AlexMp20
    from matgen_datasets.cdvae import Carbon24, Mp20, Mpts52, Perov5
    from matgen_datasets.files import Files
    from matgen_datasets.imported import Imported
    from matgen_datasets.jarvis import Jarvis
    from matgen_datasets.jarvis_figshare import JarvisDft3d
    from matgen_datasets.materials_project import MaterialsProject
    from matgen_datasets.mixed import Mixed
    from matgen_datasets.mp_le20 import MpLe20
    from matgen_datasets.optimade import Optimade

    return [
        MpLe20,
        Jarvis,
        Files,
        Imported,
        Mixed,
        Mp20,
        Perov5,
        Carbon24,
        Mpts52,
        AlexMp20,
        MaterialsProject,
        Optimade,
        JarvisDft3d,
    ]
