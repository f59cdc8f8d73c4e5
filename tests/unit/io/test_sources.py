"""Pieces of a source, read apart in any process, are the whole."""

import csv
import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matgen.io import cutting, sources
from matgen.io.extxyz import frame_text
from matgen.io.formats import natural
from matgen.io.sources import entries, pieces
from matgen.io.writing import cif_text
from matgen.records import Crystal


def crystal(number, n_sites=2):
    frac = np.arange(3 * n_sites).reshape(-1, 3) / (3.0 * n_sites)
    return Crystal(np.diag([5.0 + number, 6.0, 7.0 * n_sites]), frac, np.full(n_sites, 3 + number))


CRYSTALS = [crystal(i, 1 + i % 3) for i in range(23)]


def json_row(number, one):
    return json.dumps(
        {"id": f"j-{number}", "lattice": one.lattice.tolist(), "frac": one.frac.tolist(),
         "numbers": one.numbers.tolist(), "note": "ä \u2028 \\n"}
    )  # fmt: skip


def csv_text(crystals):
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["", "material_id", "note", "cif"])
    for number, one in enumerate(crystals):
        writer.writerow([number, f"00{number}", 'a "quoted"\nnote, twice', cif_text(one)])
    return file.getvalue()


TEXTS = {
    "a.jsonl": "\n".join(json_row(i, c) for i, c in enumerate(CRYSTALS)),
    "b.extxyz": "".join(frame_text(c, {"id": f"x-{i}"}) for i, c in enumerate(CRYSTALS)),
    "c.csv": csv_text(CRYSTALS),
    "d.csv": csv_text(CRYSTALS).replace("\n", "\r\n"),
}


def told(found):
    return [
        (e.name, e.error, dict(e.info), None if e.crystal is None else e.crystal.frac.tolist())
        for e in found
    ]


@pytest.mark.parametrize("n_bytes", [1, 77, 1000])
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_table_cut_anywhere_has_the_entries_of_the_whole(
    tmp_path, monkeypatch, name, n_bytes
):
    path = tmp_path / name
    path.write_text(TEXTS[name], newline="")
    whole = told(entries(path))
    assert len(whole) == len(CRYSTALS)
    assert not any(error for _, error, _, _ in whole)
    monkeypatch.setattr(cutting, "RUN_BYTES", n_bytes)
    cut = list(pieces(path))
    assert len(cut) > 1
    assert told(e for piece in cut for e in piece.entries()) == whole


@pytest.mark.parametrize("name", ["a.jsonl", "b.extxyz", "c.csv"])
def test_rows_without_an_id_are_called_by_their_place_in_the_file(tmp_path, monkeypatch, name):
    text = TEXTS[name].replace("material_id", "other").replace('"id": ', '"was": ')
    path = tmp_path / name
    path.write_text(text.replace(" id=", " was="))
    monkeypatch.setattr(cutting, "RUN_BYTES", 500)
    assert [e.name for e in entries(path)] == [f"{name}#{i}" for i in range(len(CRYSTALS))]


def parquet(path, crystals, **settings):
    rows = [
        {"id": f"p-{i}", "numbers": c.numbers.tolist(), "lattice": c.lattice.ravel().tolist(),
         "frac_coords": c.frac.ravel().tolist(), "gap": None if i % 2 else float(i)}
        for i, c in enumerate(crystals)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path, **settings)


@pytest.mark.parametrize("group", [5, 100])
def test_slices_of_row_groups_are_the_rows_of_the_file(tmp_path, monkeypatch, group):
    path = tmp_path / "p.parquet"
    parquet(path, CRYSTALS, row_group_size=group)
    monkeypatch.setattr(sources, "_ROWS_AT_ONCE", 2)
    cut = list(pieces(path))
    assert len(cut) >= 10
    found = told(e for piece in cut for e in piece.entries())
    assert found == told(entries(path))
    assert [name for name, *_ in found] == [f"p-{i}" for i in range(len(CRYSTALS))]
    assert [info.get("gap") for _, _, info, _ in found][:3] == [0.0, None, 2.0]


def add_to_tar(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path):
    """CIFs in two folders, one gzipped, beside a table and a file of no format of ours."""
    root = tmp_path / "folder"
    (root / "sub").mkdir(parents=True)
    for i, one in enumerate(CRYSTALS[:11]):
        (root / "sub" / f"{i}.cif").write_text(cif_text(one))
        (root / f"{i}.cif").write_text(cif_text(one))
    (root / "12.cif.gz").write_bytes(gzip.compress(cif_text(CRYSTALS[12]).encode()))
    (root / "99.jsonl").write_text(TEXTS["a.jsonl"])
    (root / "notes.txt").write_text("no crystal")
    (root / ".hidden.cif").write_text("no crystal")
    return root


def names(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_a_zip_a_tar_and_the_folder_they_were_made_of_have_the_same_entries(
    folder, tmp_path, monkeypatch
):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names(folder):
            archive.write(folder / name, name)
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz")):
        with tarfile.open(tmp_path / f"a{suffix}", mode) as archive:
            for name in sorted(names(folder), key=natural):
                archive.add(folder / name, name)
    expected = told(entries(folder))
    assert len(expected) == 11 + 11 + 1 + len(CRYSTALS)
    assert [name for name, *_ in expected][:3] == ["0", "1", "2"]
    monkeypatch.setattr(sources, "FILES_AT_ONCE", 3)
    for suffix in (".zip", ".tar", ".tar.gz", ".tgz"):
        assert told(entries(tmp_path / f"a{suffix}")) == expected


def test_pieces_go_to_other_processes_and_measure_the_whole(folder, monkeypatch):
    monkeypatch.setattr(sources, "FILES_AT_ONCE", 4)
    cut = list(pieces(folder))
    assert len(cut) > 5
    assert sum(p.n_bytes for p in cut) == sum(size for _, size, _ in sources.listing(folder))
    again = [pickle.loads(pickle.dumps(piece)) for piece in cut]
    assert told(e for p in again for e in p.entries()) == told(entries(folder))


def test_an_id_of_digits_stays_a_text(tmp_path):
    (tmp_path / "c.csv").write_text(TEXTS["c.csv"])
    assert [e.name for e in entries(tmp_path / "c.csv")][:2] == ["000", "001"]
