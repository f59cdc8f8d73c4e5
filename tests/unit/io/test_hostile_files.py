"""Files that are cut short, lie, bomb, or hold what is no crystal: told, never lost or followed."""

import gzip
import io
import json
import os
import stat
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matgen.errors import BadFile
from matgen.io import unpacking
from matgen.io.extxyz import frame_text
from matgen.io.sources import entries
from matgen.io.writing import cif_text
from matgen.records import Crystal

SALT = Crystal(4.0 * np.eye(3), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), np.array([55, 17]))
CIF = cif_text(SALT)
POSCAR = "x\n1.0\n4 0 0\n0 4 0\n0 0 4\nCs Cl\n1 1\nDirect\n0 0 0\n0.25 0.25 0.25\n"


def row(number, **more):
    return {
        "id": f"r{number}", "lattice": SALT.lattice.tolist(), "frac": SALT.frac.tolist(),
        "numbers": SALT.numbers.tolist(), **more,
    }  # fmt: skip


def found(path):
    """Return how many crystals there are and what is said against the rest; a raise is said."""
    crystals, said = [], []
    try:
        for entry in entries(path):
            if entry.crystal is None:
                said.append(entry.error)
            else:
                crystals.append(entry.crystal)
    except BadFile as error:
        said.append(str(error))
    return crystals, said


def is_salt(crystal):
    return np.allclose(crystal.frac, SALT.frac) and np.allclose(crystal.lattice, SALT.lattice)


ENTRIES = {
    "a.jsonl": [json.dumps(row(i)) + "\n" for i in range(4)],
    "a.extxyz": [frame_text(SALT, {"id": f"r{i}", "gap": 1.25}) for i in range(4)],
    "a.csv": ["material_id,cif,gap\n", *(f'r{i},"{CIF}",1.25\n' for i in range(4))],
}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_table_cut_anywhere_gives_the_whole_entries_and_says_what_it_lost(tmp_path, name):
    text = "".join(ENTRIES[name])
    ends = np.cumsum([len(part) for part in ENTRIES[name]]).tolist()
    n_before = 1 if name == "a.csv" else 0
    for cut in range(ends[0] + 1, len(text), 7):
        (tmp_path / name).write_text(text[:cut])
        crystals, said = found(tmp_path / name)
        n_whole = sum(end <= cut for end in ends) - n_before
        # A line of JSON is whole without its line end.
        n_whole += name == "a.jsonl" and cut + 1 in ends
        assert len(crystals) == n_whole
        assert all(is_salt(crystal) for crystal in crystals)
        assert len(said) == (cut not in ends and not (name == "a.jsonl" and cut + 1 in ends))


@pytest.mark.parametrize(("name", "text"), [("a.cif", CIF), ("POSCAR", POSCAR)])
def test_a_file_of_one_crystal_cut_anywhere_is_refused(tmp_path, name, text):
    for cut in range(1, len(text.rstrip())):
        (tmp_path / name).write_text(text[:cut])
        crystals, said = found(tmp_path / name)
        assert (crystals, len(said)) == ([], 1), text[:cut]


def packed(tmp_path):
    """Return one file of each kind of archive and container, four salts in each."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(4):
            archive.writestr(f"{i}.cif", CIF)
    for suffix, mode in ((".tar", "w"), (".tgz", "w:gz")):
        with tarfile.open(tmp_path / f"a{suffix}", mode) as archive:
            for i in range(4):
                info = tarfile.TarInfo(f"{i}.cif")
                info.size = len(CIF)
                archive.addfile(info, io.BytesIO(CIF.encode()))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress("".join(ENTRIES["a.csv"]).encode()))
    geometry = {
        "lattice": [SALT.lattice.ravel().tolist()] * 4,
        "frac_coords": [SALT.frac.ravel().tolist()] * 4,
        "numbers": [[55, 17]] * 4,
    }
    pq.write_table(pa.table(geometry), tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.csv.gz", "a.parquet"])
def test_an_archive_cut_anywhere_is_never_taken_for_a_whole_one(tmp_path, name):
    packed(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    assert [len(part) for part in found(path)] == [4, 0]
    # A tar ends with blocks of zeros of which only the first is needed.
    end = len(data.rstrip(b"\0")) if name == "a.tar" else len(data)
    for cut in np.linspace(1, end - 1, 60).astype(int).tolist():
        path.write_bytes(data[:cut])
        crystals, said = found(path)
        assert said, cut
        assert len(crystals) <= 4
        assert all(is_salt(crystal) for crystal in crystals)


@pytest.mark.parametrize(("name", "more"), [("a.tar", {}), ("a.tgz", {"compresslevel": 0})])
def test_what_breaks_off_is_told_from_a_file_that_is_bad(tmp_path, name, more):
    path = tmp_path / name
    with tarfile.open(path, "w:gz" if more else "w", **more) as archive:
        for i in range(300):
            info = tarfile.TarInfo(f"{i}.cif")
            info.size = len(CIF)
            archive.addfile(info, io.BytesIO(CIF.encode()))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *whole, last = entries(path)
    assert whole
    assert all(entry.kind == "" for entry in whole)
    assert (last.kind, last.crystal) == ("rest_lost", None)
    assert str(path) not in last.error


def test_a_reason_does_not_say_again_which_file_it_is_about(tmp_path):
    texts = {"a.cif": "data_x\n", "b.cif": "", "POSCAR": "x", "c.csv": "a,b\n1,2\n", "d.xyz": "x\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "e.csv").write_text('cif\n"data_x"\n')
    (tmp_path / "f.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "g.parquet").write_bytes(b"no Parquet")
    with zipfile.ZipFile(tmp_path / "h.zip", "w") as archive:
        archive.writestr("i.cif", "data_x\n")
    said = [*entries(tmp_path), *entries(tmp_path / "h.zip")]
    assert len(said) == 9
    for entry in said:
        assert entry.error
        assert str(tmp_path) in entry.source
        assert str(tmp_path) not in entry.error
    for name in ("b.cif", "c.csv", "f.csv.gz", "g.parquet"):
        with pytest.raises(BadFile) as error:
            list(entries(tmp_path / name))
        assert str(error.value).count(name) == 1


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("id;gap;cif", "separated by semicolons: write commas"),
        ("id\tcif", "separated by tabs"),
        ("id,CIF", "call the column 'cif' instead of 'CIF'"),
        ("id,structure", r"has no column 'cif' \(it has id, structure\)$"),
    ],
)
def test_a_csv_without_its_column_is_told_what_may_be_meant(tmp_path, header, says):
    (tmp_path / "a.csv").write_text(f'{header}\n1;2;"{CIF}"\n')
    with pytest.raises(BadFile, match=says):
        list(entries(tmp_path / "a.csv"))


def zip_of(path, members, **kind):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **kind) as archive:
        for info, text in members:
            archive.writestr(info, text)
    return path


def linked(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ("../a.cif", "leads out"),
        ("/etc/a.cif", "leads out"),
        ("a/../../b.cif", "leads out"),
        ("C:/a.cif", "leads out"),
        ("..\\a.cif", "leads out"),
        (linked("a.cif"), "link"),
    ],
)
def test_a_member_of_a_zip_that_leads_elsewhere_is_refused_alone(tmp_path, info, says):
    path = zip_of(tmp_path / "a.zip", [(info, CIF), ("z.cif", CIF)])
    crystals, [said] = found(path)
    assert len(crystals) == 1
    assert says in said


def test_an_encrypted_member_is_refused_alone(tmp_path):
    path = zip_of(tmp_path / "a.zip", [("a.cif", CIF), ("z.cif", CIF)])
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    crystals, [said] = found(path)
    assert len(crystals) == 1
    assert "encrypted" in said


def test_a_member_packed_by_a_method_whose_size_cannot_be_bounded_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.cif", CIF)
    assert "another method" in found(tmp_path / "a.zip")[1][0]


def test_a_zip_that_lies_about_its_sizes_is_not_unpacked_to_what_it_hides(tmp_path):
    path = zip_of(tmp_path / "a.zip", [("a.cif", "#" * 60_000_000)])
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(mark) + offset, 1000)
    path.write_bytes(data)
    tracemalloc.start()
    crystals, [said] = found(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (crystals, "unpacked" in said) == ([], True)
    assert peak < 5e6


def test_a_bomb_among_honest_members_is_refused_alone(tmp_path):
    noise = np.random.default_rng(0).bytes(2_000_000)
    members = [("a.cif", CIF), ("noise.bin", noise), ("bomb.cif", "#" * 20_000_000)]
    crystals, [said] = found(zip_of(tmp_path / "a.zip", members))
    assert len(crystals) == 1
    assert "would unpack" in said


def test_members_that_share_their_bytes_count_each(tmp_path):
    path = zip_of(tmp_path / "a.zip", [("a.cif", "#" * 900_000)])
    data = path.read_bytes()
    first = data.index(b"PK\x01\x02")
    last = data.index(b"PK\x05\x06")
    many = data[:first] + data[first:last] * 2000
    tail = bytearray(data[last:])
    struct.pack_into("<HHII", tail, 8, 2000, 2000, (last - first) * 2000, first)
    path.write_bytes(many + tail)
    crystals, [said] = found(path)
    assert crystals == []
    assert "would unpack" in said


def test_more_members_than_any_archive_of_crystals_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_MEMBERS", 100)
    path = zip_of(tmp_path / "a.zip", [(f"{i}.cif", CIF) for i in range(101)])
    assert "holds 101 files" in found(path)[1][0]


def test_archives_in_archives_are_not_opened(tmp_path):
    inner = zip_of(tmp_path / "inner.zip", [("a.cif", CIF)]).read_bytes()
    path = zip_of(tmp_path / "a.zip", [("inner.zip", inner), ("a.cif", CIF)])
    assert [len(part) for part in found(path)] == [1, 0]


@pytest.mark.parametrize("name", ["a.cif.gz", "a.jsonl.gz", "a.zip", "a.tgz"])
def test_a_gzip_bomb_is_refused_wherever_it_is_before_it_goes_off(tmp_path, name):
    bomb = gzip.compress(b"#" * 300_000_000, 9)
    path = tmp_path / name
    if name == "a.zip":
        zip_of(path, [("a.cif.gz", bomb)])
    elif name == "a.tgz":
        info = tarfile.TarInfo("a.cif")
        info.size = 200_000_000
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(info, io.BytesIO(b"#" * info.size))
    else:
        path.write_bytes(bomb)
    tracemalloc.start()
    crystals, said = found(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert crystals == []
    assert "would unpack" in said[-1]
    assert peak < 100e6


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        (tarfile.SYMTYPE, "a.cif", "link"),
        (tarfile.LNKTYPE, "a.cif", "link"),
        (tarfile.FIFOTYPE, "a.cif", "plain file"),
        (tarfile.CHRTYPE, "a.cif", "plain file"),
        (tarfile.REGTYPE, "../a.cif", "leads out"),
        (tarfile.REGTYPE, "/etc/a.cif", "leads out"),
    ],
)
def test_a_member_of_a_tar_that_leads_elsewhere_is_refused_alone(tmp_path, kind, name, says):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for member, form in ((name, kind), ("z.cif", tarfile.REGTYPE)):
            info = tarfile.TarInfo(member)
            info.type = form
            info.linkname = "/etc/passwd"
            info.size = len(CIF) if form == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(CIF.encode()) if info.size else None)
    crystals, [said] = found(tmp_path / "a.tar")
    assert len(crystals) == 1
    assert says in said


def huge(n_sites):
    """Return files of one cell of this many sites, all far from each other."""
    edge = round(n_sites ** (1 / 3)) + 1
    frac = np.stack(np.meshgrid(*[np.arange(edge)] * 3), -1).reshape(-1, 3)[:n_sites] / edge
    one = Crystal(3.0 * edge * np.eye(3), frac, np.full(n_sites, 14))
    lines = "\n".join(f"Si{i} Si {x:.6f} {y:.6f} {z:.6f}" for i, (x, y, z) in enumerate(frac))
    head = "\n".join(f"_cell_length_{x} {3 * edge}\n_cell_angle_{a} 90" for x, a in
                     zip("abc", ("alpha", "beta", "gamma"), strict=True))  # fmt: skip
    names = "\n".join(
        f"_atom_site_{x}" for x in ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
    )
    cif = f"data_x\n{head}\nloop_\n{names}\n{lines}\n"
    geometry = {"lattice": [one.lattice.ravel().tolist()], "numbers": [[14] * n_sites],
                "frac_coords": [frac.ravel().tolist()]}  # fmt: skip
    sites = [{"species": [{"element": "Si", "occu": 1}], "abc": x} for x in frac.tolist()]
    held = {"lattice": one.lattice.tolist(), "frac": frac.tolist(), "numbers": [14] * n_sites}
    return {
        "a.cif": cif,
        "a.csv": f'id,cif\nx,"{cif}"\n',
        "a.extxyz": frame_text(one, {}),
        "a.vasp": "x\n1\n9 0 0\n0 9 0\n0 0 9\nSi\n999999999999\nDirect\n0 0 0\n0 0 0\n",
        "a.jsonl": json.dumps(held) + "\n",
        "b.jsonl": json.dumps({"structure": {"lattice": {}, "sites": sites}}) + "\n",
        "a.parquet": pa.table(geometry),
    }


HUGE = huge(100_000)


@pytest.mark.parametrize("name", HUGE)
def test_a_cell_of_a_hundred_thousand_sites_is_refused_before_any_work_on_it(tmp_path, name):
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(HUGE[name], path)
    else:
        path.write_text(HUGE[name])
    tracemalloc.start()
    [entry] = entries(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert entry.kind == "too_many_sites"
    assert "at most 1000 are read" in entry.error
    # The text, its words and its rows; a matrix of distances would be 80 GB.
    assert peak < 400e6


def test_a_few_listed_sites_that_symmetry_makes_many_are_refused(tmp_path):
    operations = "".join(f"'x+{i / 192:.6f}, y, z'\n" for i in range(192))
    sites = "".join(f"Si{i} Si 0.001 {i / 20} 0.3\n" for i in range(20))
    text = (
        "data_x\n" + "".join(f"_cell_length_{x} 400\n" for x in "abc")
        + "".join(f"_cell_angle_{a} 90\n" for a in ("alpha", "beta", "gamma"))
        + "loop_\n_symmetry_equiv_pos_as_xyz\n" + operations + "loop_\n_atom_site_label\n"
        "_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        + sites
    )  # fmt: skip
    (tmp_path / "a.cif").write_text(text)
    [entry] = entries(tmp_path / "a.cif")
    assert entry.kind == "too_many_sites"
    [entry] = entries(tmp_path / "a.cif", max_sites=3840)
    assert entry.crystal is not None
    assert entry.crystal.n_sites == 3840


def test_an_author_with_an_accent_costs_no_crystal(tmp_path):
    text = CIF.replace("data_", "# Müller, Besançon\ndata_", 1)
    (tmp_path / "a.cif").write_bytes(text.encode("latin-1"))
    assert [len(part) for part in found(tmp_path / "a.cif")] == [1, 0]


@pytest.mark.parametrize("name", ENTRIES)
def test_bytes_that_are_no_utf8_cost_one_entry(tmp_path, name):
    parts = [part.encode() for part in ENTRIES[name]]
    parts[2] = parts[2].replace(b"r2", b"r\xe92").replace(b"r1", b"r\xe91")
    (tmp_path / name).write_bytes(b"".join(parts))
    crystals, [said] = found(tmp_path / name)
    assert len(crystals) == 3
    assert "utf-8" in said.lower()


@pytest.mark.parametrize(
    "name",
    ["a.cif", "a.cif.gz", "POSCAR", "a.xyz", "a.jsonl", "a.csv", "a.csv.gz", "a.parquet", "a.zip",
     "a.tar", "a.tgz"],
)  # fmt: skip
def test_an_empty_file_is_said_to_be_none(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    crystals, [said] = found(tmp_path / name)
    assert crystals == []
    assert name in said


@pytest.mark.parametrize("where", ["lattice", "frac"])
def test_a_number_that_is_none_is_said(tmp_path, where):
    bad = row(0)
    bad[where][0][0] = float("nan")
    (tmp_path / "a.jsonl").write_text(json.dumps(bad) + "\n" + json.dumps(row(1)) + "\n")
    crystals, [said] = found(tmp_path / "a.jsonl")
    assert len(crystals) == 1
    assert "not finite" in said


def test_a_cif_of_several_blocks_is_several_crystals_each_with_its_own_name(tmp_path):
    second = (
        CIF.replace("data_", "data_again_", 1).replace("Cs", "D").replace("data_again_D", "data_b")
    )
    third = CIF.replace("_cell_length_a", "_cell_long_a")
    (tmp_path / "a.cif").write_text(CIF + second + third + CIF)
    found_entries = list(entries(tmp_path / "a.cif"))
    assert [e.name for e in found_entries] == ["a#0", "a#1", "a#2", "a#3"]
    assert [bool(e.crystal) for e in found_entries] == [True, False, False, True]
    assert "deuterium" in found_entries[1].error
    assert "no _cell_length_a" in found_entries[2].error


def test_a_file_that_may_not_be_read_is_one_bad_entry_among_others():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for name in ("a.cif", "b.cif", "c.jsonl"):
            (root / name).write_text(CIF)
        (root / "b.cif").chmod(0o000)
        (root / "c.jsonl").chmod(0o000)
        (root / "d.cif").symlink_to("nowhere")
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # nobody: root may read everything
        try:
            crystals, said = found(root)
        finally:
            os.seteuid(user)
    assert len(crystals) == 1
    assert ["Permission denied" in text for text in said] == [True, True, False]
    assert "No such file" in said[2]
