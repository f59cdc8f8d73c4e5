"""The benchmark sets of CDVAE and DiffCSP, with their official splits.

Every set is three files: ``train.csv``, ``val.csv`` and ``test.csv`` in one folder, as its
repository has them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matgen import FetchedDataset, Record
from matgen.io.download import RemoteFile, download
from matgen.records import LabelSource, Skipped
from matgen.roles.dataset import FetchObserver, Split
from matgen_datasets.cif_rows import csv_rows, records_of

CDVAE = "https://raw.githubusercontent.com/txie-93/cdvae/main/data"
DIFFCSP = "https://raw.githubusercontent.com/jiaor17/DiffCSP/main/data"
_CDVAE_PAPER = "Xie et al., Crystal Diffusion Variational Autoencoder, ICLR 2022"
_MATERIALS_PROJECT = "Jain et al., APL Materials 1, 011002 (2013)"


@dataclass(frozen=True)
class Published:
    """A set as it was published.

    Attributes:
        url: Folder that holds the three files.
        columns: Column of the files to property and unit.
        functional: Level of theory of the labels, by property where they differ.
        sha256: Digest by split, where known.
        licence: Of the data, and of the repository that gives it out.
    """

    url: str
    columns: Mapping[str, tuple[str, str]]
    functional: str
    functionals: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    licence: str = "CC BY 4.0 (data), MIT (repository)"


class CdvaeTable(FetchedDataset):
    """A published set of three csv files."""

    @property
    @abstractmethod
    def published(self) -> Published:
        """Where it is and what its columns mean."""

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the properties; any may be missing."""
        return dict(self.published.columns.values())

    @property
    def licence(self) -> str:
        """As it was published."""
        return self.published.licence

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """One source each: the set, at its level of theory."""
        known = self.published
        return {
            title: (LabelSource(self.name, known.functionals.get(title, known.functional)),)
            for title in self.units
        }

    @property
    def splits(self) -> tuple[Split, ...]:
        """The official ones."""
        return ("train", "val", "test")

    def fetch(self, folder: Path, *, observer: FetchObserver, api_key: str = "") -> None:
        """Download the files that are not there and whole."""
        del api_key
        known = self.published
        for split in self.splits:
            file = RemoteFile(
                f"{known.url}/{split}.csv", f"{split}.csv", known.sha256.get(split, "")
            )
            download(file, folder, observer=observer)

    def files(self, folder: Path) -> Sequence[Path]:
        """Return the file of each split."""
        return [folder / f"{split}.csv" for split in self.splits]

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split in the order of its file."""
        path = self.fetched_folder() / f"{split}.csv"
        titles = {column: title for column, (title, _) in self.published.columns.items()}
        with path.open("rb") as file:
            rows = csv_rows(file, damaged=lambda reason: self.damaged(path, reason))
            yield from records_of(rows, titles, source=path.name, on_skip=on_skip)


class Mp20(CdvaeTable):
    """MP-20: 45,229 materials of the Materials Project from the ICSD, at most 20 sites a cell.

    PBE, with U for some oxides and fluorides; at most 0.08 eV/atom above the hull of 2021.
    """

    name = "mp_20"
    cites = (_MATERIALS_PROJECT, _CDVAE_PAPER)

    @property
    def published(self) -> Published:
        """As in the repository of CDVAE."""
        return Published(
            f"{CDVAE}/mp_20",
            {
                "formation_energy_per_atom": ("formation_energy_per_atom", "eV/atom"),
                "band_gap": ("band_gap", "eV"),
                "e_above_hull": ("energy_above_hull", "eV/atom"),
                "spacegroup.number": ("space_group", "number"),
            },
            "PBE/PBE+U",
            # Of the files that CDVAE and CrystaLLM give out, which are the same.
            sha256={
                "train": "133bab58dba02d316f9f91174839f17802dce648be4e8659d1a42b32b97fa01d",
                "val": "7b5f4085464b3eac9fd2123acee97ec372214004ce7e983b535b33395abc3e29",
                "test": "dd605c7543cf95a13e150aed630d0915e74edc8dea17e85301ee6fbfeb7f500a",
            },
        )


class Perov5(CdvaeTable):
    """Perov-5: 18,928 cubic ABX3 cells of five sites, most of them unstable.

    ``heat_all`` is the heat of formation from all competing materials that were considered,
    ``heat_ref`` from the reference ones; gaps with the derivative discontinuity of GLLB-SC.
    """

    name = "perov_5"
    cites = (
        "Castelli et al., Energy Environ. Sci. 5, 5814 (2012)",
        "Castelli et al., Energy Environ. Sci. 5, 9034 (2012)",
        _CDVAE_PAPER,
    )

    @property
    def published(self) -> Published:
        """As in the repository of CDVAE."""
        return Published(
            f"{CDVAE}/perov_5",
            {
                "heat_all": ("heat_all", "eV/atom"),
                "heat_ref": ("heat_ref", "eV/atom"),
                # The smallest gap between any two points; the direct one is never smaller.
                "ind_gap": ("band_gap", "eV"),
                "dir_gap": ("direct_band_gap", "eV"),
            },
            "RPBE",
            {"band_gap": "GLLB-SC", "direct_band_gap": "GLLB-SC"},
            licence="not stated by the authors (data), MIT (repository)",
        )


class Carbon24(CdvaeTable):
    """Carbon-24: 10,153 carbons of 6 to 24 sites from random searches at 10 GPa.

    A tenth of all that were found, the lowest in energy; the energy per atom is on the scale of
    that search.
    """

    name = "carbon_24"
    cites = ("Pickard, AIRSS data for carbon at 10 GPa, Materials Cloud (2020)", _CDVAE_PAPER)

    @property
    def published(self) -> Published:
        """As in the repository of CDVAE."""
        return Published(
            f"{CDVAE}/carbon_24", {"energy_per_atom": ("energy_per_atom", "eV/atom")}, "PBE"
        )


class Mpts52(CdvaeTable):
    """MPTS-52: 40,476 materials of at most 52 sites, split by the year of first report.

    Training comes before validation, validation before test. It shares materials with MP-20: do not
    mix the two benchmarks.
    """

    name = "mpts_52"
    cites = (
        _MATERIALS_PROJECT,
        "Baird et al., mp-time-split (2022)",
        "Jiao et al., Crystal Structure Prediction by Joint Equivariant Diffusion, NeurIPS 2023",
    )

    @property
    def published(self) -> Published:
        """As in the repository of DiffCSP."""
        return Published(
            f"{DIFFCSP}/mpts_52",
            {
                "energy_above_hull": ("energy_above_hull", "eV/atom"),
                "formation_energy_per_atom": ("formation_energy_per_atom", "eV/atom"),
                "year": ("year", "year"),
            },
            "PBE/PBE+U",
        )
