import numpy as np
import pyarrow.parquet as pq
import pytest
import spglib

from matgen.crystal.checks import check_crystal
from matgen.crystal.composition import reduced_formula
from matgen.units import CANONICAL_UNITS
from matgen_datasets.jarvis import Jarvis
from matgen_datasets.materials import DATA
from matgen_datasets.mp_le20 import MpLe20

COLUMNS = ["material_id", "mp20_split", "energy_above_hull", "energy_above_hull_source"]


@pytest.fixture(scope="module")
def frame():
    rows = pq.read_table(DATA / "mp_le20.parquet", columns=COLUMNS).to_pylist()
    return {row["material_id"]: row for row in rows}


@pytest.fixture(scope="module")
def everything():
    return {split: list(MpLe20(rows="all").records(split)) for split in ("train", "val")}


@pytest.fixture(scope="module")
def stable():
    return {split: list(MpLe20().records(split)) for split in ("train", "val")}


@pytest.fixture(scope="module")
def jarvis():
    return {split: list(Jarvis().records(split)) for split in ("train", "val")}


def materials(records):
    return {(reduced_formula(r.crystal), r.properties["space_group"]) for r in records}


def test_no_material_is_both_trained_on_and_validated(everything):
    assert not materials(everything["train"]) & materials(everything["val"])


def test_only_rows_that_share_a_material_with_validation_are_left_out(everything, frame):
    used = {r.id for records in everything.values() for r in records}
    assert len(frame) - len(used) == 790
    assert sum(frame[name]["mp20_split"] == "train" for name in set(frame) - used) == 471


def test_validation_is_that_of_mp20(everything, frame):
    assert {r.id for r in everything["val"]} == {
        name for name, row in frame.items() if row["mp20_split"] == "val"
    }


def test_rows_of_mp20_are_its_two_splits_and_nothing_else(everything, frame):
    chosen = {split: list(MpLe20(rows="mp20").records(split)) for split in ("train", "val")}
    for split, records in chosen.items():
        wanted = [r.id for r in everything[split] if frame[r.id]["mp20_split"] == split]
        assert [r.id for r in records] == wanted
    assert len(chosen["train"]) == 25_968 - 471
    assert len(chosen["val"]) == 8_663


def test_stable_rows_are_those_at_most_a_tenth_above_the_hull(stable, everything, frame):
    for split in ("train", "val"):
        assert [r.id for r in stable[split]] == [
            r.id
            for r in everything[split]
            if (frame[r.id]["energy_above_hull"] or 0.0) <= 0.1
            and frame[r.id]["energy_above_hull"] is not None
        ]


def test_legacy_labels_are_missing_near_zero_and_kept_above(everything, frame):
    n_dropped = n_kept = 0
    for record in everything["train"]:
        row = frame[record.id]
        label = record.properties.get("energy_above_hull")
        if row["energy_above_hull_source"] == "mp2019" and row["energy_above_hull"] <= 0.15:
            assert label is None
            n_dropped += 1
        elif row["energy_above_hull"] is not None:
            assert label == pytest.approx(row["energy_above_hull"])
            n_kept += 1
    assert n_dropped > 1000
    assert n_kept > 1000


def test_a_missing_value_is_an_absent_key(everything):
    for record in everything["train"]:
        assert not any(np.isnan(value) for value in record.properties.values())
    assert any("band_gap" not in record.properties for record in everything["train"])


@pytest.mark.parametrize("dataset", [MpLe20(), Jarvis()])
def test_units_are_the_canonical_ones(dataset):
    assert dataset.units == {name: CANONICAL_UNITS[name] for name in dataset.units}


def test_records_come_in_the_same_order_each_time(stable):
    assert [r.id for r in MpLe20().records("val")] == [r.id for r in stable["val"]]


def test_the_choice_of_rows_changes_the_fingerprint():
    prints = {MpLe20(rows=rows).fingerprint() for rows in ("stable", "all", "mp20")}
    assert len(prints) == 3
    assert MpLe20().fingerprint() == MpLe20().fingerprint()


def test_bundled_crystals_are_crystals(stable, jarvis):
    for record in [*stable["train"][::50], *jarvis["train"][::50]]:
        check_crystal(record.crystal)


def test_jarvis_never_trains_on_a_validation_material_of_mp_le20(jarvis, everything):
    held_out = materials(everything["val"])
    formulas = {formula for formula, _ in held_out}
    candidates = [r for r in jarvis["train"] if reduced_formula(r.crystal) in formulas]
    for record in candidates[::8]:
        c = record.crystal
        group = spglib.get_symmetry_dataset((c.lattice, c.frac, c.numbers), symprec=0.01).number
        assert (reduced_formula(c), float(group)) not in held_out


def test_every_jarvis_row_is_in_one_split_and_has_a_magnetic_density(jarvis):
    names = [r.id for records in jarvis.values() for r in records]
    assert len(names) == len(set(names)) == 13_671
    densities = [r.properties["magnetic_density"] for r in jarvis["train"]]
    assert min(densities) >= 0.0
    assert max(densities) > 0.1


def test_a_model_asked_to_learn_the_hull_distance_sees_unstable_rows_too():
    asked = frozenset({"density", "energy_above_hull"})
    assert MpLe20().for_conditions(asked).rows == "all"
    assert MpLe20().for_conditions(frozenset({"density"})).rows == "stable"
    assert MpLe20(rows="stable").for_conditions(asked).rows == "stable"
