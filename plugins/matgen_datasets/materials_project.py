"""The Materials Project through its own client, ``mp-api``.

Energies come from the thermo documents, which say on which set of calculations they stand; cells,
gaps and moments from the summary documents. For many materials the Materials Project gives cells
relaxed with r2SCAN today, whatever the energies stand on.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field

from matgen import FetchedDataset, Record
from matgen.elements import atomic_number
from matgen.errors import BadCrystal, BadOptions, CrystalError, MissingDependency, UserError
from matgen.io.paging import Page, collect, collected
from matgen.records import Crystal, LabelSource, PropertyValue, Skipped
from matgen.roles.dataset import FetchObserver, Split
from matgen_datasets.held_out import is_held_out

ThermoType: TypeAlias = Literal["GGA_GGA+U", "GGA_GGA+U_R2SCAN", "R2SCAN"]

SUMMARY_FIELDS = [
    "material_id",
    "structure",
    "band_gap",
    "total_magnetization_normalized_vol",
    "symmetry",
]
THERMO_FIELDS = [
    "material_id",
    "thermo_type",
    "energy_above_hull",
    "formation_energy_per_atom",
    "energy_type",
]
ENERGIES = ("energy_above_hull", "formation_energy_per_atom")
_SOURCES: dict[str, LabelSource] = {
    "GGA_GGA+U": LabelSource("mp_gga_gga_u", "PBE/PBE+U"),
    "GGA_GGA+U_R2SCAN": LabelSource("mp_mixed", "PBE/PBE+U/r2SCAN"),
    "R2SCAN": LabelSource("mp_r2scan", "r2SCAN"),
}
"""Energies of two thermo types are on two scales: never one label."""


class MaterialsProject(FetchedDataset):
    """Materials of the Materials Project, chosen by size, stability and chemical system.

    Needs a key: `matgen data fetch materials_project --api-key KEY`, or the variable MP_API_KEY. A
    share of the reduced formulas is held out for validation.
    """

    name = "materials_project"
    cites = (
        "Jain et al., APL Materials 1, 011002 (2013)",
        "Horton et al., Nat. Mater. 24, 1522 (2025)",
    )
    selects: ClassVar[tuple[str, ...]] = (
        "max_sites",
        "max_above_hull",
        "chemical_system",
        "batches",
        "thermo_types",
    )

    max_sites: int = Field(default=20, ge=1)
    """Of the primitive cell."""
    max_above_hull: float = Field(default=0.1, ge=0.0)
    """Largest energy above the hull of the summary, eV/atom."""
    chemical_system: str = ""
    """Only this one: `Li-Fe-O`, or `Li-*`; all if left out."""
    batches: Literal["open", "all"] = "open"
    """``open``: without the GNoME batch, whose licence forbids commercial use."""
    thermo_types: tuple[ThermoType, ...] = ("GGA_GGA+U",)
    """Which energies to take, the first that a material has. Several are several label sources."""
    page_size: int = Field(default=500, ge=1, le=1000)
    """Materials to ask for at a time."""
    val_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the reduced formulas that is held out."""
    endpoint: str = "https://api.materialsproject.org/"
    """Where the service is."""

    @property
    def licence(self) -> str:
        """As the Materials Project gives its data; its GNoME batch is more restricted."""
        return "CC BY 4.0" if self.batches == "open" else "CC BY 4.0; GNoME batch CC BY-NC 4.0"

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the properties; any may be missing."""
        return {
            "energy_above_hull": "eV/atom",
            "formation_energy_per_atom": "eV/atom",
            "band_gap": "eV",
            "magnetic_density": "muB/A3",
            "space_group": "number",
        }

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """Energies by thermo type; for the rest the summary does not say one functional."""
        energies = tuple(_SOURCES[kind] for kind in self.thermo_types)
        return {
            title: energies if title in ENERGIES else (LabelSource("mp"),) for title in self.units
        }

    def fetch(self, folder: Path, *, observer: FetchObserver, api_key: str = "") -> None:
        """Ask page by page, from where an earlier call stopped.

        Raises:
            MissingDependency: mp-api is not installed.
            BadOptions: no key.
            UserError: the service refuses or fails.
        """
        try:
            from mp_api.client import MPRester
            from mp_api.client.core.exceptions import MPRestError
        except ImportError:
            raise MissingDependency(
                "materials_project needs mp-api: pip install 'matgen[mp]'"
            ) from None
        import requests

        if not api_key:
            raise BadOptions(
                "the Materials Project wants a key (https://next-gen.materialsproject.org/api): "
                "give it with --api-key, or in the variable MP_API_KEY"
            )
        query = {name: getattr(self, name) for name in self.selects}
        try:
            with (
                warnings.catch_warnings(),
                MPRester(
                    api_key,
                    endpoint=self.endpoint,
                    use_document_model=False,
                    mute_progress_bars=True,
                ) as client,
            ):
                warnings.simplefilter("ignore")
                total = client.materials.summary.count(self._criteria())
                query["database"] = str(client.db_version)
                collect(
                    folder / "materials.jsonl",
                    query,
                    "1",
                    lambda number: self._page(client, int(number), total),
                    observer=observer,
                )
        except (MPRestError, requests.RequestException) as error:
            told = " ".join(re.sub(r"\x1b\[\d+m", "", str(error)).split())[:300]
            raise UserError(
                f"the Materials Project does not answer: {told}; run the same command again: it "
                "goes on where this one stopped"
            ) from None

    def files(self, folder: Path) -> Sequence[Path]:
        """Return the file of all pages."""
        return [folder / "materials.jsonl"]

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split in the order of their identifiers at the service."""
        path = self.files(self.fetched_folder())[0]
        entries = collected(path, damaged=lambda reason: self.damaged(path, reason))
        seen: set[str] = set()
        for number, entry in enumerate(entries):
            name = str(entry.get("material_id", ""))
            try:
                if not name or name in seen:
                    raise BadCrystal(f"{name!r} comes twice" if name else "no material_id")
                crystal = _crystal(entry.get("structure"))
            except CrystalError as error:
                place = f"{path.name}#{number}"
                if on_skip is None:
                    raise BadCrystal(f"{place} ({name}): {error}") from None
                on_skip(Skipped(place, f"{name}: {error}"))
                continue
            seen.add(name)
            if is_held_out(crystal, share=self.val_fraction) == (split == "val"):
                values, sources = self._labels(entry)
                yield Record(name, crystal, values, sources)

    def _criteria(self) -> dict[str, Any]:
        """Return the query in the words of the service."""
        criteria: dict[str, Any] = {
            "nsites_max": self.max_sites,
            "energy_above_hull_max": self.max_above_hull,
            "deprecated": False,
        }
        if self.chemical_system:
            criteria["chemsys"] = self.chemical_system
        if self.batches == "open":
            criteria["batch_id_not_eq"] = "gnome_r2scan_statics"
        return criteria

    def _page(self, client: Any, number: int, total: int) -> Page:  # an MPRester
        materials = client.materials.summary.search(
            num_sites=(1, self.max_sites),
            energy_above_hull=(-100.0, self.max_above_hull),
            chemsys=self.chemical_system or None,
            deprecated=False,
            include_gnome=self.batches == "all",
            fields=SUMMARY_FIELDS,
            all_fields=False,
            chunk_size=self.page_size,
            num_chunks=1,
            _page=number,
            _sort_fields="material_id",
        )
        energies: dict[str, list[dict[str, Any]]] = {}
        if names := [str(material["material_id"]) for material in materials]:
            for thermo in client.materials.thermo.search(
                material_ids=names,
                thermo_types=list(self.thermo_types),
                fields=THERMO_FIELDS,
                all_fields=False,
            ):
                energies.setdefault(str(thermo["material_id"]), []).append(dict(thermo))
        entries = [
            {**material, "thermo": energies.get(str(material["material_id"]), [])}
            for material in materials
        ]
        is_last = len(entries) < self.page_size
        return Page(entries, "" if is_last else str(number + 1), total)

    def _labels(self, entry: Mapping[str, Any]) -> tuple[dict[str, PropertyValue], dict[str, str]]:
        """Return the properties, and the source of those that have several."""
        symmetry = entry.get("symmetry") or {}
        given = {
            "band_gap": entry.get("band_gap"),
            "magnetic_density": entry.get("total_magnetization_normalized_vol"),
            "space_group": symmetry.get("number") if isinstance(symmetry, dict) else None,
        }
        sources: dict[str, str] = {}
        # The service spells R2SCAN in two ways.
        by_kind = {str(t.get("thermo_type")).upper(): t for t in entry.get("thermo") or ()}
        kind = next((kind for kind in self.thermo_types if kind in by_kind), None)
        if kind is not None:
            given |= {title: by_kind[kind].get(title) for title in ENERGIES}
        values: dict[str, PropertyValue] = {
            title: float(value)
            for title, value in given.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        if kind is not None and len(self.thermo_types) > 1:
            sources = {title: _SOURCES[kind].name for title in ENERGIES if title in values}
        return values, sources


def _crystal(structure: Any) -> Crystal:  # pymatgen's Structure as a dict
    """Return the crystal of a pymatgen structure as JSON, without building the structure.

    Raises:
        BadCrystal: a site that is not one whole element, or no structure at all.
    """
    try:
        numbers = []
        for site in structure["sites"]:
            species = site["species"]
            if len(species) != 1 or abs(float(species[0]["occu"]) - 1.0) > 1e-6:
                raise BadCrystal(
                    f"a site is disordered ({site.get('label', '?')}); only fully occupied sites "
                    "with one element each can be represented"
                )
            numbers.append(atomic_number(species[0]["element"]))
        lattice = np.array(structure["lattice"]["matrix"], dtype=np.float64)
        frac = np.array([site["abc"] for site in structure["sites"]], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise BadCrystal(f"it has no readable structure ({error})") from None
    if not numbers or lattice.shape != (3, 3) or frac.shape != (len(numbers), 3):
        raise BadCrystal("its lattice and sites do not fit")
    return Crystal(lattice, frac, np.array(numbers, dtype=np.int64))
