"""All of JARVIS-DFT as figshare has it: one JSON list in a zip."""

from __future__ import annotations

import io
import json
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from matgen.crystal.composition import reduced_formula
from matgen.errors import BadCrystal, BadFile
from matgen_datasets import jarvis_figshare
from matgen_datasets.jarvis_figshare import ARCHIVE, JarvisDft3d
from matgen_datasets.mp_le20 import MpLe20
from tests import served_data
from tests.local_server import file_handler, serving


class Silent:
    def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
        assert (part, unit) == (ARCHIVE.name, "bytes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return served_data.fetched_folder("jarvis_dft_3d", tmp_path)


def everything(folder: Path) -> list[Any]:
    source = JarvisDft3d(path=str(folder))
    return [r for split in ("train", "val") for r in source.records(split)]  # type: ignore[arg-type]


def packed(folder: Path, content: bytes) -> Path:
    with zipfile.ZipFile(folder / ARCHIVE.name, "w") as archive:
        archive.writestr("jdft_3d-12-12-2022.json", content)
    return folder


def test_the_archive_arrives_if_it_is_the_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = served_data.jarvis_zip()
    with serving(file_handler(content)) as server:
        monkeypatch.setattr(
            jarvis_figshare, "ARCHIVE",
            jarvis_figshare.RemoteFile(server.url, ARCHIVE.name, n_bytes=len(content)),
        )  # fmt: skip
        JarvisDft3d().fetch(tmp_path, observer=Silent())
        assert len(everything(tmp_path)) == 70
        monkeypatch.setattr(
            jarvis_figshare, "ARCHIVE",
            jarvis_figshare.RemoteFile(server.url, ARCHIVE.name, sha256=ARCHIVE.sha256),
        )  # fmt: skip
        with pytest.raises(BadFile, match="expected d4c64660"):
            JarvisDft3d().fetch(tmp_path / "other", observer=Silent())


def test_fractional_and_cartesian_entries_give_the_crystal_meant(folder: Path) -> None:
    found = {r.id: r.crystal for r in everything(folder)}
    for number, wanted in enumerate(served_data.records()):
        given = found[f"JVASP-{90000 + number}"]
        assert given.frac == pytest.approx(wanted.crystal.frac, abs=1e-12)
        assert given.numbers.tolist() == wanted.crystal.numbers.tolist()


def test_the_text_na_is_a_missing_value(folder: Path) -> None:
    for record in everything(folder):
        number = int(record.id.removeprefix("JVASP-")) - 90000
        assert "mbj_band_gap" not in record.properties
        assert ("bulk_modulus" in record.properties) == (number % 2 == 1)
        assert ("magnetic_density" in record.properties) == (number % 4 == 0)


def test_the_magnetic_density_is_the_moment_over_the_volume(folder: Path) -> None:
    record = next(r for r in everything(folder) if r.id == "JVASP-90004")
    assert record.properties["magnetic_density"] == pytest.approx(3.5 / record.crystal.volume)


def test_no_formula_that_mp_le20_validates_on_is_trained_on(folder: Path) -> None:
    held_out = {reduced_formula(r.crystal) for r in MpLe20(rows="all").records("val")}
    source = JarvisDft3d(path=str(folder))
    sides = {
        split: {reduced_formula(r.crystal) for r in source.records(split)}  # type: ignore[arg-type]
        for split in ("train", "val")
    }
    assert not sides["train"] & held_out
    assert sides["val"] <= held_out
    assert len(sides["val"]) >= 10


def test_two_gaps_are_two_properties_of_two_functionals() -> None:
    sources = JarvisDft3d().label_sources
    assert sources["band_gap"][0].functional == "OptB88vdW"
    assert sources["mbj_band_gap"][0].functional == "TBmBJ"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"atoms": None}, "atoms cannot be read"),
        ({"atoms": {"lattice_mat": [[1, 0, 0]] * 3, "coords": [[0, 0, 0]], "cartesian": False,
                    "elements": ["Fe"]}}, "span no volume"),
        ({"atoms": {"lattice_mat": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "coords": [[0, 0, 0]],
                    "cartesian": False, "elements": ["Fe", "O"]}}, "do not fit 2 sites"),
        ({"atoms": {"lattice_mat": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "coords": [[0, 0, 0]],
                    "cartesian": False, "elements": ["D"]}}, "D"),
        ({"jid": "JVASP-90001"}, "used twice"),
    ],
)  # fmt: skip
def test_a_bad_entry_is_skipped_with_its_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    entries = [served_data.jarvis_entry(n, r) for n, r in enumerate(served_data.records())]
    entries[7] = entries[7] | change
    (tmp_path / ARCHIVE.name).write_bytes(served_data.jarvis_zip(entries))
    skipped: list[Any] = []
    source = JarvisDft3d(path=str(tmp_path))
    kept = [*source.records("train", on_skip=skipped.append)]
    kept += source.records("val", on_skip=lambda _: None)
    assert len(kept) == 59
    assert [(s.source, reason in s.reason) for s in skipped] == [(f"{ARCHIVE.name}#7", True)]
    with pytest.raises(BadCrystal, match=reason):
        everything(tmp_path)


@pytest.mark.parametrize("size", [64, 1000, 1 << 22])
def test_the_list_is_read_the_same_in_pieces_of_any_size(
    size: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = json.loads(zipfile.ZipFile(folder / ARCHIVE.name).read("jdft_3d-12-12-2022.json"))
    monkeypatch.setattr(jarvis_figshare, "_READ_CHARACTERS", size)
    for text in (json.dumps(wanted[:9]), json.dumps(wanted[:9], indent=2) + "\n", "[]"):
        found = [*jarvis_figshare._listed(io.BytesIO(text.encode()))]
        assert found == (json.loads(text))


def test_only_a_part_of_the_list_is_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jarvis_figshare, "_READ_CHARACTERS", 4096)
    content = zipfile.ZipFile(folder / ARCHIVE.name).read("jdft_3d-12-12-2022.json")
    file = io.BytesIO(content)
    [*islice(jarvis_figshare._listed(file), 3)]
    assert file.tell() < len(content) / 4


def test_a_list_cut_anywhere_is_damaged_and_names_the_command(folder: Path) -> None:
    whole = zipfile.ZipFile(folder / ARCHIVE.name).read("jdft_3d-12-12-2022.json")
    for cut in (0, 1, 500, len(whole) // 2, len(whole) - 2, len(whole) - 1):
        with pytest.raises(BadFile, match=r"is damaged: .*matgen data fetch jarvis_dft_3d"):
            everything(packed(folder, whole[:cut]))


def test_a_damaged_zip_is_noticed_even_if_its_text_is_json(folder: Path) -> None:
    path = folder / ARCHIVE.name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("jdft_3d-12-12-2022.json", json.dumps([{"jid": "JVASP-1"}]))
    path.write_bytes(path.read_bytes().replace(b"JVASP-1", b"JVASP-2"))
    with pytest.raises(BadFile, match="CRC"):
        [*JarvisDft3d(path=str(folder)).records("train", on_skip=lambda _: None)]


def test_a_truncated_zip_is_damaged(folder: Path) -> None:
    path = folder / ARCHIVE.name
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadFile, match=r"is damaged: .*matgen data fetch jarvis_dft_3d"):
        everything(folder)
