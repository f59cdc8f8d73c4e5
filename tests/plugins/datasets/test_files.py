import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from matgen.crystal.composition import reduced_formula
from matgen.errors import BadCrystal, BadFile
from matgen.io.extxyz import frame_text
from matgen.io.writing import cif_text
from matgen.records import Crystal
from matgen_datasets.files import Files


def write(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


def row(name, z, repeats=1, gap=1.0, spacing=4.0):
    n = 2 * repeats
    return {
        "material_id": name,
        "numbers": [z, 8] * repeats,
        "lattice": (np.diag([spacing * n, 4.0, 4.0])).ravel().tolist(),
        "frac_coords": [x for i in range(n) for x in (i / n, 0.0, 0.0)],
        "band_gap": gap,
        "other": 3.0,
    }


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mine.parquet"
    rows = [
        row(f"{z}-{k}", z, repeats=k) for z in range(11, 57) if z not in (18, 36) for k in (1, 2)
    ]
    write(path, rows)
    return path


def test_a_formula_is_never_on_both_sides_and_no_crystal_is_lost(table):
    files = Files(path=str(table), val_fraction=0.3)
    sides = {split: list(files.records(split)) for split in ("train", "val")}
    formulas = {side: {reduced_formula(r.crystal) for r in rs} for side, rs in sides.items()}
    assert formulas["train"]
    assert formulas["val"]
    assert not formulas["train"] & formulas["val"]
    assert sum(len(rs) for rs in sides.values()) == 88


def test_nothing_is_held_out_at_fraction_zero(table):
    assert list(Files(path=str(table), val_fraction=0.0).records("val")) == []


def test_a_crystal_stays_on_its_side_when_others_are_added(table, tmp_path):
    before = {r.id for r in Files(path=str(table), val_fraction=0.3).records("val")}
    more = tmp_path / "more.parquet"
    write(more, [*pq.read_table(table).to_pylist(), row("new", 57)])
    after = {r.id for r in Files(path=str(more), val_fraction=0.3).records("val")}
    assert before == after - {"new"}


def test_only_columns_with_a_stated_unit_become_properties(table):
    files = Files(path=str(table), val_fraction=0.0, column_units={"band_gap": "eV"})
    assert dict(files.units) == {"band_gap": "eV"}
    assert all(dict(r.properties) == {"band_gap": 1.0} for r in files.records("train"))


def csv_of(path, gaps):
    """Write crystals whose gaps are these texts."""
    lines = ["material_id,band_gap,cif"]
    for z, gap in enumerate(gaps, start=11):
        crystal = Crystal(4 * np.eye(3), np.array([[0, 0, 0], [0.5] * 3]), np.array([z, 8]))
        lines.append(f'm{z},{gap},"{cif_text(crystal).replace(chr(34), chr(39))}"')
    path.write_text("\n".join(lines) + "\n")


def test_a_value_that_is_no_number_is_missing_and_said_once(tmp_path, caplog):
    path = tmp_path / "mine.csv"
    csv_of(path, ["1.5", "nan", "", "1200 meV", "inf", "wide", "2"])
    files = Files(path=str(path), val_fraction=0.0, column_units={"band_gap": "eV"})
    records = list(files.records("train"))
    assert [dict(r.properties) for r in records] == [
        {"band_gap": gap} if gap else {} for gap in (1.5, 0, 0, 0, 0, 0, 2.0)
    ]
    list(files.records("train"))
    [line] = [record.getMessage() for record in caplog.records]
    # nan and an empty value say themselves that there is none.
    assert line.startswith("3 values of band_gap in train cannot be used")
    assert "mine.csv#3: band_gap is '1200 meV'; the stated unit is 'eV'" in line


def test_nan_and_infinity_of_an_extended_xyz_are_missing(tmp_path):
    crystal = Crystal(4 * np.eye(3), np.array([[0, 0, 0], [0.5] * 3]), np.array([11, 8]))
    texts = [
        frame_text(crystal, {"id": str(i)}).replace(" pbc=", f" band_gap={gap} pbc=")
        for i, gap in enumerate(("1.5", "nan", "inf", "-inf"))
    ]
    path = tmp_path / "mine.extxyz"
    path.write_text("".join(texts))
    files = Files(path=str(path), val_fraction=0.0, column_units={"band_gap": "eV"})
    found = {r.id: dict(r.properties) for r in files.records("train")}
    assert found == {"0": {"band_gap": 1.5}, "1": {}, "2": {}, "3": {}}


def test_an_id_used_twice_is_reported(tmp_path):
    path = tmp_path / "twice.parquet"
    write(path, [row("a", 11), row("a", 12)])
    files = Files(path=str(path), val_fraction=0.0)
    with pytest.raises(BadCrystal, match="'a' is used twice"):
        list(files.records("train"))
    skipped = []
    assert len(list(files.records("train", on_skip=skipped.append))) == 1
    assert "used twice" in skipped[0].reason


def test_a_bad_entry_is_reported_or_raised(tmp_path):
    path = tmp_path / "bad.parquet"
    write(path, [row("a", 11), row("b", 12, spacing=0.01)])
    files = Files(path=str(path), val_fraction=0.0)
    with pytest.raises(BadCrystal, match="Å"):
        list(files.records("train"))
    skipped = []
    assert [r.id for r in files.records("train", on_skip=skipped.append)] == ["a"]
    assert len(skipped) == 1


def test_the_fingerprint_follows_contents_and_settings(table):
    files = Files(path=str(table))
    before = files.fingerprint()
    assert Files(path=str(table), val_fraction=0.2).fingerprint() != before
    assert Files(path=str(table)).fingerprint() == before
    write(table, [row("a", 11)])
    assert files.fingerprint() != before


def test_a_missing_path_is_said(tmp_path):
    files = Files(path=str(tmp_path / "none.cif"))
    with pytest.raises(BadFile, match="does not exist"):
        files.fingerprint()
    with pytest.raises(BadFile, match="does not exist"):
        list(files.records("train"))


def test_everything_cannot_be_held_out():
    with pytest.raises(ValidationError):
        Files(path="x", val_fraction=1.0)
