import gzip
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from ase.io import write as ase_write
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

from matgen.errors import BadCrystal, BadFile
from matgen.io.crystal_table import CrystalTable
from matgen.io.reading import read_crystals, read_samples
from matgen.records import Crystal

DATA = Path(__file__).parents[3] / "plugins" / "matgen_datasets" / "data" / "mp_le20.parquet"
CS, CL = "Cs1 Cs 0 0 0 1\n", "Cl1 Cl .5 .5 .5 1\n"
CELL = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"'
POSCAR = "x\n1.0\n4 0 0\n0 4 0\n0 0 4\nCs Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"


def cif(*sites, head=""):
    lengths = "".join(f"_cell_length_{x} 4.0\n" for x in "abc")
    angles = "".join(f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma"))
    columns = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"]
    loop = "loop_\n" + "".join(f"_atom_site_{column}\n" for column in columns)
    return f"data_x\n{lengths}{angles}{head}{loop}{''.join(sites)}"


def reasons(path):
    skipped = []
    assert list(read_crystals(path, on_skip=skipped.append)) == []
    return [s.reason for s in skipped]


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def some():
    table = CrystalTable.read(DATA)
    rows = np.random.default_rng(5).choice(len(table), 40, replace=False)
    return [table.crystal(int(row)) for row in rows]


def same(crystal, structure):
    return StructureMatcher(primitive_cell=False, scale=False, ltol=1e-3, stol=1e-3).fit(
        crystal.to_structure(), structure
    )


@pytest.mark.parametrize("symprec", [None, 0.01])
def test_a_cif_of_pymatgen_is_read_as_the_crystal_it_was_written_from(some, tmp_path, symprec):
    for i, crystal in enumerate(some):
        structure = crystal.to_structure()
        path = write(tmp_path / f"{i}.cif", str(CifWriter(structure, symprec=symprec)))
        [record] = read_crystals(path)
        expected = Structure.from_file(path) if symprec else structure
        assert record.crystal.n_sites == len(expected)
        assert same(record.crystal, expected)


def test_operations_are_those_of_the_named_group_where_none_are_listed(tmp_path):
    site = ("Na Na 0 0 0 1\n", "Cl Cl .5 .5 .5 1\n")
    path = write(tmp_path / "a.cif", cif(*site, head="_symmetry_space_group_name_H-M 'F m -3 m'\n"))
    [record] = read_crystals(path)
    assert record.crystal.n_sites == 8


def test_a_poscar_of_pymatgen_is_read_as_the_crystal_it_was_written_from(some, tmp_path):
    for i, crystal in enumerate(some):
        structure = crystal.to_structure().get_sorted_structure()
        for direct in (True, False):
            path = write(tmp_path / f"{i}.vasp", Poscar(structure).get_str(direct=direct))
            [record] = read_crystals(path)
            assert same(record.crystal, structure)


def test_frames_of_ase_are_read_with_their_numbers_and_texts(some, tmp_path):
    path = tmp_path / "all.extxyz"
    atoms = [crystal.to_atoms() for crystal in some]
    for i, one in enumerate(atoms):
        one.info = {"gap": 0.5 * i, "id": f"c-{i}", "comment": 'a "b" = c'}
    ase_write(path, atoms, format="extxyz")
    records = list(read_crystals(path))
    assert [r.id for r in records] == [f"c-{i}" for i in range(len(some))]
    assert [r.properties["gap"] for r in records] == [0.5 * i for i in range(len(some))]
    for record, crystal in zip(records, some, strict=True):
        assert same(record.crystal, crystal.to_structure())


def test_structures_of_pymatgen_are_read_from_json_lines_bare_or_beside_properties(tmp_path):
    structure = Structure(Lattice.cubic(4), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    bare = json.loads(structure.to_json())
    beside = {"id": "a", "band_gap": 1.5, "structure": bare}
    path = write(tmp_path / "s.jsonl", f"{json.dumps(bare)}\n{json.dumps(beside)}\n")
    first, second = read_crystals(path)
    assert first.crystal.numbers.tolist() == second.crystal.numbers.tolist() == [55, 17]
    assert (second.id, second.properties["band_gap"]) == ("a", 1.5)


def test_parquet_rows_come_with_their_properties(tmp_path):
    path = tmp_path / "few.parquet"
    pq.write_table(pq.read_table(DATA).slice(0, 5), path)
    records = list(read_crystals(path))
    assert [r.id for r in records] == pq.read_table(path)["material_id"].to_pylist()
    assert records[0].properties["space_group"] == 229.0


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_csv_with_cifs_is_read_plain_or_gzipped(tmp_path, suffix):
    text = f',material_id,e_form,cif\n0,mp-1,-1.5,"{cif(CS, CL)}"\n'
    opened = gzip.open if suffix.endswith("gz") else open
    with opened(tmp_path / f"val{suffix}", "wt") as file:
        file.write(text)
    [record] = read_crystals(tmp_path / f"val{suffix}")
    assert record.id == "mp-1"
    assert record.properties["e_form"] == -1.5


def test_folders_and_zips_are_read_in_natural_order(tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    archive = tmp_path / "cifs.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for n in (10, 9, 1):
            write(folder / f"{n}.cif", cif(CS, CL))
            z.writestr(f"{n}.cif", cif(CS, CL))
    (folder / "notes.txt").write_text("no crystal")
    for path in (folder, archive):
        assert [Path(r.id).stem for r in read_crystals(path)] == ["1", "9", "10"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.cif", cif(CS, "D1 D .5 .5 .5 1\n"), "deuterium"),
        ("a.cif", cif(CS, "X1 X .5 .5 .5 1\n"), "no element"),
        ("a.cif", cif(CS, "Cl Cl .5 .5 .5 .5\n"), "fully occupied"),
        ("a.cif", cif(CS, "Cl Cl .5 .5 .5 0\n"), "fully occupied"),
        ("a.cif", cif(CS, "Cl Cl .01 0 0 1\n"), "Å apart"),
        ("a.cif", cif(CS, CS), "Å apart"),
        ("a.cif", cif(CS, "Cl Cl nan 0 0 1\n"), "expected a number"),
        ("a.cif", cif(CS, "Cl Cl ? 0 0 1\n"), "expected a number"),
        ("a.cif", cif(CS, head="_chemical_formula_sum 'Cs1 Cl1'\n"), "add up"),
        ("a.cif", cif(CS, head="_symmetry_space_group_name_H-M 'Q 7'\n"), "unknown"),
        ("POSCAR", POSCAR.replace("Cs Cl\n", ""), "names no elements"),
        ("a.vasp", POSCAR.replace("Cl", "D"), "deuterium"),
        ("a.vasp", POSCAR.replace(".5 .5 .5", "nan .5 .5"), "not finite"),
        ("a.xyz", f"2\n{CELL}\nCs 0 0 0\nD 2 2 2\n", "deuterium"),
        ("a.xyz", f"2\n{CELL}\nCs 0 0 0\nX 2 2 2\n", "no element"),
        ("a.xyz", "1\nno cell\nCs 0 0 0\n", "not periodic"),
        ("a.xyz", f"1\n{CELL.replace('T T T', 'T T F')}\nCs 0 0 0\n", "expected a crystal"),
        ("a.xyz", f"2\n{CELL}\nCs 0 0 0\nCl 2 2\n", "columns"),
    ],
)
def test_a_bad_entry_is_reported_with_its_reason_or_raised(tmp_path, name, text, says):
    path = write(tmp_path / name, text)
    [reason] = reasons(path)
    assert says in reason
    with pytest.raises(BadCrystal, match=r"."):
        list(read_crystals(path))


@pytest.mark.parametrize("element", ["D", "T"])
def test_isotopes_in_a_structure_of_pymatgen_are_refused(tmp_path, element):
    row = json.loads(Structure(Lattice.cubic(4), ["H"], [[0, 0, 0]]).to_json())
    row["sites"][0]["species"][0]["element"] = element
    [reason] = reasons(write(tmp_path / "a.jsonl", json.dumps(row) + "\n"))
    assert "isotopes" in reason


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.cif", ""),
        ("a.cif", cif(CS, "Cl1 Cl .5\n")),
        ("a.cif", "data_x\n_title\n;never closed\n"),
        ("a.vasp", POSCAR.rpartition("\n.5")[0] + "\n"),
        ("a.xyz", f"2\n{CELL}\nCs 0 0 0\nCl 2 2 2\n2\n{CELL}\nCs 0 0 0\n"),
        ("a.jsonl", '{"numbers": [55], "frac": [[0, 0, 0]], "latt'),
        ("a.csv", f'material_id,cif\nm,"{cif(CS, CL)}'),
        ("a.parquet", "PAR1 cut short"),
        ("a.zip", "PK cut short"),
        ("a.docx", "what"),
    ],
)
def test_a_file_that_is_cut_short_or_none_of_its_kind_is_a_bad_file(tmp_path, name, text):
    path = write(tmp_path / name, text)
    with pytest.raises(BadFile):
        list(read_crystals(path, on_skip=lambda _: None))


def test_a_file_that_is_cut_short_among_others_is_one_bad_entry(tmp_path):
    write(tmp_path / "1.cif", cif(CS, CL))
    write(tmp_path / "2.vasp", POSCAR.rpartition("\n.5")[0] + "\n")
    skipped = []
    assert len(list(read_crystals(tmp_path, on_skip=skipped.append))) == 1
    assert "truncated" in skipped[0].reason
    assert "2.vasp" in skipped[0].source


def test_a_zip_never_leads_out_of_itself_or_expands_absurdly(tmp_path):
    out = tmp_path / "out.zip"
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("../a.cif", cif(CS, CL))
    assert "leads out" in reasons(out)[0]
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a.cif", "#" * 20_000_000)
    with pytest.raises(BadFile, match="would unpack"):
        list(read_crystals(bomb))


def test_bad_entries_stay_in_the_denominator_of_samples(tmp_path):
    frames = f"1\n{CELL}\nCs 0 0 0\n2\n{CELL}\nCs 0 0 0\nD 2 2 2\n1\n{CELL}\nCs 0 0 0\n"
    samples, asked = read_samples(write(tmp_path / "a.xyz", frames))
    assert asked == 3
    assert [s.index for s in samples] == [0, 1, 2]
    assert [s.crystal is None for s in samples] == [False, True, False]
    assert "deuterium" in samples[1].error


@pytest.mark.parametrize("name", ["a.xyz", "a.jsonl"])
def test_overlapping_sites_are_refused_as_data_and_kept_as_samples(tmp_path, name):
    row = {"lattice": (4 * np.eye(3)).tolist(), "frac": [[0, 0, 0]] * 2, "numbers": [55, 55]}
    frame = f"2\n{CELL}\nCs 0 0 0\nCs 0 0 0\n"
    path = write(tmp_path / name, frame if name == "a.xyz" else json.dumps({"crystal": row}) + "\n")
    [reason] = reasons(path)
    assert "0 Å apart" in reason
    [sample], asked = read_samples(path)
    assert asked == 1
    assert sample.crystal.n_sites == 2
    assert sample.error == ""


def test_reading_warns_nobody(some, tmp_path):
    path = write(tmp_path / "a.cif", cif(CS, CL))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [record] = read_crystals(path)
    assert isinstance(record.crystal, Crystal)
