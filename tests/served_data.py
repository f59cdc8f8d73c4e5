"""Real crystals in the shapes in which datasets are published: bytes for servers and folders.

Crystals and labels are rows of the bundled mp_le20; names of columns and keys are those of the
publishers.
"""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from pymatgen.symmetry.groups import sg_symbol_from_int_number

from matgen.crystal.composition import chemical_system, reduced_formula
from matgen.elements import symbols
from matgen.records import Crystal, Record
from matgen_datasets.mp_le20 import MpLe20
from tests.local_server import Answer, Asked

MP_20_HEADER = (
    "", "material_id", "formation_energy_per_atom", "band_gap", "pretty_formula", "e_above_hull",
    "elements", "cif", "spacegroup.number",
)  # fmt: skip
PEROV_5_HEADER = (
    "", "material_id", "cif", "formula", "heat_all", "heat_ref", "dir_gap", "ind_gap",
)  # fmt: skip
CARBON_24_HEADER = ("", "energy_per_atom", "material_id", "cif")
MPTS_52_HEADER = (
    "", "material_id", "theoretical", "energy_above_hull", "formation_energy_per_atom", "year",
    "cif",
)  # fmt: skip
ALEX_HEADER = (
    "material_id", "reduced_formula", "space_group", "chemical_system", "num_sites", "cif",
    "energy_above_hull", "dft_band_gap", "dft_mag_density", "dft_bulk_modulus", "ml_bulk_modulus",
    "hhi_score",
)  # fmt: skip


@lru_cache(maxsize=1)
def records() -> tuple[Record, ...]:
    """60 real crystals with every label, small cells, no two of one formula."""
    kept: dict[str, Record] = {}
    for record in islice(MpLe20(rows="all").records("train"), 3000):
        if len(record.properties) == 4 and record.crystal.n_sites <= 8:
            kept.setdefault(reduced_formula(record.crystal), record)
    return tuple(kept.values())[:60]


def cif(crystal: Crystal) -> str:
    """The CIF that pymatgen writes."""
    return str(crystal.to_structure().to(fmt="cif"))


def csv_bytes(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """A csv as pandas writes it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def mp_20_row(number: int, record: Record) -> list[object]:
    p, formula = record.properties, reduced_formula(record.crystal)
    elements = chemical_system(record.crystal.numbers).split("-")
    return [
        number, record.id, p["formation_energy_per_atom"], p["band_gap"], formula,
        p["energy_above_hull"], str(elements), cif(record.crystal), int(p["space_group"]),
    ]  # fmt: skip


def mp_20_csv(chosen: Sequence[Record]) -> bytes:
    return csv_bytes(MP_20_HEADER, [mp_20_row(n, r) for n, r in enumerate(chosen)])


def perov_5_csv(chosen: Sequence[Record]) -> bytes:
    rows = [
        [n, 18000 + int(r.id.rpartition("-")[2]), cif(r.crystal), reduced_formula(r.crystal),
         2.76, 2.709152583232041, 3.0, 2.9]
        for n, r in enumerate(chosen)
    ]  # fmt: skip
    return csv_bytes(PEROV_5_HEADER, rows)


def carbon_24_csv(chosen: Sequence[Record]) -> bytes:
    rows = [[n, -154.2 + 0.01 * n, f"C-{r.id}", cif(r.crystal)] for n, r in enumerate(chosen)]
    return csv_bytes(CARBON_24_HEADER, rows)


def mpts_52_csv(chosen: Sequence[Record]) -> bytes:
    rows = [
        [n, r.id, False, r.properties["energy_above_hull"],
         r.properties["formation_energy_per_atom"], 1997, cif(r.crystal)]
        for n, r in enumerate(chosen)
    ]  # fmt: skip
    return csv_bytes(MPTS_52_HEADER, rows)


CDVAE: dict[str, Callable[[Sequence[Record]], bytes]] = {
    "mp_20": mp_20_csv,
    "perov_5": perov_5_csv,
    "carbon_24": carbon_24_csv,
    "mpts_52": mpts_52_csv,
}


def cdvae_files(name: str) -> dict[str, bytes]:
    """The three files of a set."""
    chosen = records()
    parts = {"train": chosen[:40], "val": chosen[40:50], "test": chosen[50:]}
    return {f"{split}.csv": CDVAE[name](rows) for split, rows in parts.items()}


def alex_rows(chosen: Sequence[Record]) -> bytes:
    rows = []
    for n, r in enumerate(chosen):
        p = r.properties
        # Most rows have a stability and a learned modulus, few anything else.
        some = n % 3 == 0
        rows.append([
            r.id, reduced_formula(r.crystal), sg_symbol_from_int_number(int(p["space_group"])),
            chemical_system(r.crystal.numbers), r.crystal.n_sites, cif(r.crystal),
            p["energy_above_hull"], p["band_gap"] if some else "", 0.05 if some else "",
            "", 101.5, 1500.0,
        ])  # fmt: skip
    return csv_bytes(ALEX_HEADER, rows)


def alex_zip() -> bytes:
    chosen = records()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("alex_mp_20/train.csv", alex_rows(chosen[:45]))
        archive.writestr("alex_mp_20/val.csv", alex_rows(chosen[45:]))
    return content.getvalue()


def write_alex_cache(folder: Path) -> None:
    """What MatterGen's csv_to_dataset.py leaves, by the same numpy and json calls."""
    chosen = records()
    for split, part in (("train", chosen[:45]), ("val", chosen[45:])):
        place = folder / split
        place.mkdir(parents=True)
        crystals = [r.crystal for r in part]
        np.save(place / "pos.npy", np.vstack([c.frac for c in crystals]))
        np.save(place / "cell.npy", np.array([c.lattice for c in crystals]))
        np.save(place / "atomic_numbers.npy", np.concatenate([c.numbers for c in crystals]))
        np.save(place / "num_atoms.npy", np.array([c.n_sites for c in crystals]))
        np.save(place / "structure_id.npy", np.array([r.id for r in part]))
        columns: dict[str, list[object]] = {
            "energy_above_hull": [r.properties["energy_above_hull"] for r in part],
            "dft_band_gap": [
                r.properties["band_gap"] if n % 3 == 0 else math.nan for n, r in enumerate(part)
            ],
            "space_group": [
                sg_symbol_from_int_number(int(r.properties["space_group"])) for r in part
            ],
            "chemical_system": [chemical_system(r.crystal.numbers) for r in part],
        }
        for name, values in columns.items():
            saved = {"values": values, "property_source_doc_id": name, "origins": None}
            (place / f"{name}.json").write_text(json.dumps(saved))


def jarvis_entry(number: int, record: Record) -> dict[str, Any]:
    crystal, p = record.crystal, record.properties
    cartesian = number % 2 == 1
    return {
        "jid": f"JVASP-{90000 + number}",
        "spg_number": str(int(p["space_group"])),
        "formula": reduced_formula(crystal),
        "formation_energy_peratom": p["formation_energy_per_atom"],
        "func": "OptB88vdW",
        "optb88vdw_bandgap": p["band_gap"],
        "atoms": {
            "lattice_mat": crystal.lattice.tolist(),
            "coords": (crystal.frac @ crystal.lattice if cartesian else crystal.frac).tolist(),
            "elements": [symbols[z] + (" " if number % 3 == 0 else "") for z in crystal.numbers],
            "abc": np.linalg.norm(crystal.lattice, axis=1).tolist(),
            "angles": [90.0, 90.0, 90.0],
            "cartesian": cartesian,
            "props": [""] * crystal.n_sites,
        },
        "magmom_oszicar": -3.5 if number % 4 == 0 else "na",
        "mbj_bandgap": "na",
        "ehull": p["energy_above_hull"],
        "bulk_modulus_kv": 101.5 if number % 2 else "na",
        "shear_modulus_gv": "na",
        "elastic_tensor": "na",
    }


def jarvis_zip(entries: Sequence[object] | None = None) -> bytes:
    """The archive on figshare; ours has some formulas of validation materials, too."""
    if entries is None:
        held_out = list(islice(MpLe20(rows="all").records("val"), 400))
        held_out = [r for r in held_out if len(r.properties) == 4 and r.crystal.n_sites <= 6]
        entries = [jarvis_entry(n, r) for n, r in enumerate([*records(), *held_out[:10]])]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("jdft_3d-12-12-2022.json", json.dumps(entries))
    return content.getvalue()


def optimade_entry(record: Record) -> dict[str, Any]:
    crystal = record.crystal
    names = [symbols[z] for z in crystal.numbers]
    return {
        "id": record.id,
        "type": "structures",
        "attributes": {
            "lattice_vectors": crystal.lattice.tolist(),
            "cartesian_site_positions": (crystal.frac @ crystal.lattice).tolist(),
            "species_at_sites": names,
            "species": [
                {"name": name, "chemical_symbols": [name], "concentration": [1.0]}
                for name in sorted(set(names))
            ],
            "nperiodic_dimensions": 3,
            "structure_features": [],
            "last_modified": "2024-01-01T00:00:00Z",
            "_demo_band_gap": record.properties["band_gap"],
        },
    }


def optimade_handler(entries: Sequence[Mapping[str, Any]], page: int) -> Callable[[Asked], Answer]:
    """Answer as a provider does, page by page."""

    def handle(asked: Asked) -> Answer:
        parts = urlsplit(asked.path)
        if parts.path != "/v1/structures":
            return Answer(status=404)
        query = parse_qs(parts.query)
        start = int(query.get("page_offset", ["0"])[0])
        given = list(entries[start : start + page])
        more = start + page < len(entries)
        keep = "&".join(f"{k}={v[0]}" for k, v in query.items() if k == "filter").replace(" ", "+")
        following = f"/v1/structures?{keep}&page_offset={start + page}" if more else None
        answer = {
            "data": given,
            "links": {"next": {"href": following} if start else following},
            "meta": {
                "api_version": "1.2.0",
                "data_returned": len(entries),
                "more_data_available": more,
                "query": {"representation": asked.path},
            },
        }
        kind = {"Content-Type": "application/vnd.api+json"}
        return Answer(json.dumps(answer).encode(), 200, kind)

    return handle


def mp_summary(record: Record) -> dict[str, Any]:
    return {
        "material_id": record.id,
        "structure": json.loads(json.dumps(record.crystal.to_structure().as_dict(), default=str)),
        "band_gap": record.properties["band_gap"],
        "total_magnetization_normalized_vol": 0.01,
        "symmetry": {"number": int(record.properties["space_group"]), "symbol": "?"},
    }


def mp_thermo(record: Record, kind: str = "GGA_GGA+U") -> dict[str, Any]:
    return {
        "material_id": record.id,
        "thermo_type": kind,
        "thermo_id": f"{record.id}_{kind}",
        "energy_above_hull": record.properties["energy_above_hull"],
        "formation_energy_per_atom": record.properties["formation_energy_per_atom"],
        "energy_type": "GGA",
    }


def fetched_folder(name: str, folder: Path) -> Path:
    """Fill a folder as ``matgen data fetch NAME`` would have."""
    folder.mkdir(parents=True, exist_ok=True)
    if name in CDVAE:
        for file, content in cdvae_files(name).items():
            (folder / file).write_bytes(content)
    elif name == "alex_mp_20":
        (folder / "alex_mp_20.zip").write_bytes(alex_zip())
    elif name == "jarvis_dft_3d":
        (folder / "jdft_3d-12-12-2022.json.zip").write_bytes(jarvis_zip())
    elif name == "optimade":
        write_lines(folder / "structures.jsonl", [optimade_entry(r) for r in records()])
    else:
        assert name == "materials_project", f"write down what {name} looks like when fetched"
        entries = [{**mp_summary(r), "thermo": [mp_thermo(r)]} for r in records()]
        write_lines(folder / "materials.jsonl", entries)
    return folder


def write_lines(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
