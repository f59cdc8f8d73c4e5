import numpy as np
import pytest
import spglib
from ase.io import read as ase_read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure

from matgen.errors import BadOptions
from matgen.io.extxyz import frame_crystal, frame_info, frame_text, split_frames
from matgen.io.reading import read_crystals, read_samples
from matgen.io.writing import check_target, write_samples
from matgen.records import Crystal, Sample

FORMATS = ["out.extxyz", "out.xyz", "out.jsonl", "out.zip", "folder"]


def salt(oxidation=(1, -1)):
    return Crystal(
        np.array([[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]]),
        np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
        np.array([11, 17], dtype=np.int64),
        np.array(oxidation, dtype=np.int64),
    )


SAMPLES = [
    # Formulas that careless readers take for numbers and truth values.
    Sample(
        0,
        salt(),
        -12.25,
        -0.5,
        {"band_gap": 1.5, "reduced_formula": "NaN"},
        {"reduced_formula": "InF", "chemical_system": "F"},
    ),
    Sample(1, None, None, None, {"band_gap": 2.0}, {}, "reached the token limit"),
    Sample(2, salt(), requested={"reduced_formula": "NO"}),
]


@pytest.mark.parametrize("name", FORMATS)
def test_samples_come_back_with_all_that_belongs_to_them(tmp_path, name):
    write_samples(tmp_path / name, SAMPLES, asked=3)
    read, asked = read_samples(tmp_path / name)
    assert asked == 3
    by_index = {sample.index: sample for sample in read}
    for expected in SAMPLES:
        if expected.crystal is None and name.endswith("xyz"):
            assert expected.index not in by_index
            continue
        got = by_index[expected.index]
        assert (got.log_prob, got.log_mass) == (expected.log_prob, expected.log_mass)
        assert dict(got.requested) == dict(expected.requested)
        assert dict(got.achieved) == dict(expected.achieved)
        assert got.error == expected.error
        assert (got.crystal is None) == (expected.crystal is None)


@pytest.mark.parametrize("name", FORMATS)
def test_crystals_come_back_to_the_last_digits(tmp_path, name):
    write_samples(tmp_path / name, SAMPLES, asked=3)
    [first, *_] = read_samples(tmp_path / name)[0]
    crystal = salt()
    assert first.crystal.numbers.tolist() == [11, 17]
    # A CIF has eight digits and turns the cell; lengths and distances do not change.
    tolerance = 1e-12 if name.endswith(("xyz", "jsonl")) else 1e-6
    gram = [c.lattice @ c.lattice.T for c in (first.crystal, crystal)]
    np.testing.assert_allclose(*gram, atol=10 * tolerance)
    np.testing.assert_allclose(first.crystal.frac, crystal.frac, atol=tolerance)


@pytest.mark.parametrize("name", ["out.extxyz", "out.jsonl"])
def test_oxidation_states_come_back(tmp_path, name):
    write_samples(tmp_path / name, SAMPLES, asked=3)
    assert read_samples(tmp_path / name)[0][0].crystal.oxidation.tolist() == [1, -1]


def test_cifs_carry_no_oxidation_states(tmp_path):
    write_samples(tmp_path / "one.cif", SAMPLES[:1], asked=1)
    assert "oxidation" not in (tmp_path / "one.cif").read_text()
    assert {s.symbol for s in Structure.from_file(tmp_path / "one.cif").composition} == {"Na", "Cl"}


@pytest.mark.parametrize("name", FORMATS)
def test_the_number_asked_for_survives_when_every_sample_failed(tmp_path, name):
    failed = [Sample(i, None, error="reached the token limit") for i in range(4)]
    write_samples(tmp_path / name, failed, asked=4)
    samples, asked = read_samples(tmp_path / name)
    assert asked == 4
    assert all(sample.crystal is None for sample in samples)


def test_sample_files_are_read_as_crystals_too(tmp_path):
    write_samples(tmp_path / "out.extxyz", SAMPLES, asked=3)
    first, second = read_crystals(tmp_path / "out.extxyz")
    assert first.properties["index"] == 0.0
    assert first.properties["log_prob"] == -12.25
    assert first.properties["requested_band_gap"] == 1.5
    assert second.properties["requested_reduced_formula"] == "NO"


def test_ase_reads_our_frames(tmp_path):
    write_samples(tmp_path / "out.extxyz", SAMPLES, asked=3)
    first, second = ase_read(tmp_path / "out.extxyz", index=":")
    np.testing.assert_allclose(first.cell.array, salt().lattice)
    assert second.info["index"] == 2


def test_a_symmetrised_cif_names_its_group_and_stays_the_same_crystal(tmp_path):
    path = tmp_path / "one.cif"
    write_samples(path, SAMPLES[:1], asked=1, symmetrize=0.01)
    assert "'Fm-3m'" in path.read_text() or "Fm-3m" in path.read_text()
    [record] = read_crystals(path)
    crystal = record.crystal
    assert crystal.n_sites == 8
    found = spglib.get_symmetry_dataset((crystal.lattice, crystal.frac, crystal.numbers))
    assert found.number == 225


def test_a_failure_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "out.extxyz"
    path.write_text("before")

    def broken():
        yield SAMPLES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_samples(path, broken(), asked=2)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["out.extxyz"]


@pytest.mark.parametrize(("name", "asked"), [("a.cif", 2), ("a.pdf", 1)])
def test_a_target_that_cannot_be_written_is_refused_before_any_work(tmp_path, name, asked):
    with pytest.raises(BadOptions):
        check_target(tmp_path / name, asked)


texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r"), max_size=20)
values = st.one_of(st.floats(allow_nan=False, allow_infinity=False), texts)


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), values, max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_number_or_text_survives_a_frame(info):
    [frame] = split_frames(frame_text(salt(), info))
    found, raw = frame_info(frame[1])
    assert found == info
    assert frame_crystal(frame, raw).oxidation.tolist() == [1, -1]
