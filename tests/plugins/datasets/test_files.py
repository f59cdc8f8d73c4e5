import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from matgen.crystal.composition import reduced_formula
from matgen.errors import BadCrystal, BadFile
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
