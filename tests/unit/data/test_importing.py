"""An import keeps every crystal and value it is given, or says which it leaves out and why."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from matgen.crystal.cell import canonical_cell
from matgen.crystal.composition import reduced_formula
from matgen.data.import_plan import ImportSettings, ImportSource
from matgen.data.importing import import_crystals
from matgen.data.own_properties import OWN_PROPERTIES
from matgen.errors import BadFile, BadOptions, NewerFormat
from matgen.io import sources
from matgen.io.crystal_table import CrystalTable
from matgen.io.extxyz import frame_text
from matgen.io.writing import cif_text
from matgen.records import Crystal, LabelSource
from matgen_datasets.imported import Imported
from matgen_executors.local import LocalExecutor

DATA = Path(__file__).parents[3] / "plugins" / "matgen_datasets" / "data" / "mp_le20.parquet"


class Heard:
    """Hears of an import, and may stop it."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.new = self.old = 0
        self.n_bytes: int | None = None
        self.done_bytes = 0
        self.stop_after = stop_after

    def on_start(self, n_bytes):
        self.n_bytes = n_bytes

    def on_piece(self, n_bytes, n_crystals, n_problems, *, is_new):
        self.done_bytes += n_bytes
        self.new += is_new
        self.old += not is_new
        if self.new == self.stop_after:
            raise KeyboardInterrupt

    def on_assembly(self):
        pass


def run(inputs, out, *, strict=False, heard=None, labels=None, **settings):
    labels = labels or {}
    chosen = [ImportSource.of(str(i), i, labels.get(i)) for i in inputs]
    return import_crystals(
        chosen,
        out,
        ImportSettings(**settings),
        LocalExecutor(),
        heard or Heard(),
        problems="refuse" if strict else "report",
    )


def problems(folder):
    return [json.loads(line) for line in (folder / "problems.jsonl").read_text().splitlines()]


def records(folder):
    dataset = Imported(path=str(folder))
    return {r.id: (split, r) for split in dataset.splits for r in dataset.records(split)}


@pytest.fixture(scope="module")
def some():
    table = CrystalTable.read(DATA)
    rows = np.random.default_rng(11).choice(len(table), 90, replace=False)
    return {table.ids[row]: table.crystal(int(row)) for row in rows}


@pytest.fixture
def cifs(tmp_path, some):
    folder = tmp_path / "cifs"
    folder.mkdir()
    for name, crystal in some.items():
        (folder / f"{name}.cif").write_text(cif_text(crystal))
    return folder


def frames(path, some, **columns):
    texts = [
        frame_text(crystal, {"id": name, **{key: make(i) for key, make in columns.items()}})
        for i, (name, crystal) in enumerate(some.items())
    ]
    path.write_text("".join(texts))
    return path


def test_every_crystal_comes_back_as_it_was_with_its_split_by_formula(tmp_path, some):
    report = run([frames(tmp_path / "a.xyz", some)], tmp_path / "out")
    found = records(tmp_path / "out")
    assert report.counted.n_crystals == len(found) == len(some)
    sides: dict[str, set[str]] = {}
    for name, (split, record) in found.items():
        np.testing.assert_array_equal(record.crystal.lattice, some[name].lattice)
        np.testing.assert_allclose(record.crystal.frac, some[name].frac, atol=1e-12)
        np.testing.assert_array_equal(record.crystal.numbers, some[name].numbers)
        sides.setdefault(reduced_formula(record.crystal), set()).add(split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert {"train", "val"} == set.union(*sides.values())


def test_oxidation_states_that_the_source_has_are_kept_and_others_are_unknown(tmp_path):
    salt = Crystal(4 * np.eye(3), np.array([[0, 0, 0], [0.5] * 3]), np.array([55, 17]))
    text = frame_text(salt.with_oxidation(np.array([1, -1])), {"id": "a"})
    (tmp_path / "a.xyz").write_text(text + frame_text(salt, {"id": "b"}))
    run([tmp_path / "a.xyz"], tmp_path / "out")
    found = {name: record.crystal for name, (_, record) in records(tmp_path / "out").items()}
    np.testing.assert_array_equal(found["a"].oxidation, [1, -1])
    assert found["b"].oxidation is None


def test_stopped_after_any_piece_it_goes_on_to_the_same_bytes(tmp_path, cifs, monkeypatch):
    monkeypatch.setattr(sources, "FILES_AT_ONCE", 7)
    whole = run([cifs], tmp_path / "whole", computed=("density",))
    expected = (tmp_path / "whole" / "crystals.parquet").read_bytes()
    for n_pieces in (1, 5, 13):
        out = tmp_path / f"out{n_pieces}"
        with pytest.raises(KeyboardInterrupt):
            run([cifs], out, computed=("density",), heard=Heard(stop_after=n_pieces))
        assert not out.exists()
        heard = Heard()
        report = run([cifs], out, computed=("density",), heard=heard)
        assert (heard.old, heard.new) == (n_pieces, 13 - n_pieces)
        assert heard.done_bytes == heard.n_bytes
        assert (out / "crystals.parquet").read_bytes() == expected
        assert report.description.fingerprint == whole.description.fingerprint
    left = [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert left == []


def test_what_a_kill_left_half_written_is_not_taken_for_done(tmp_path, cifs, monkeypatch):
    monkeypatch.setattr(sources, "FILES_AT_ONCE", 30)
    with pytest.raises(KeyboardInterrupt):
        run([cifs], tmp_path / "out", heard=Heard(stop_after=1))
    [work] = tmp_path.glob(".out.import-*")
    (work / ".part-000001.parquet.torn").write_bytes(b"PAR1 torn")
    (work / ".finished.torn").mkdir()
    (work / "part-000001.jsonl").write_text('{"torn')
    run([cifs], tmp_path / "out")
    assert len(records(tmp_path / "out")) == 90
    assert problems(tmp_path / "out") == []


def test_changed_sources_and_settings_begin_anew(tmp_path, cifs, monkeypatch):
    monkeypatch.setattr(sources, "FILES_AT_ONCE", 30)
    with pytest.raises(KeyboardInterrupt):
        run([cifs], tmp_path / "out", heard=Heard(stop_after=2))
    (cifs / "zz.cif").write_text((next(iter(cifs.iterdir()))).read_text())
    heard = Heard()
    run([cifs], tmp_path / "out", heard=heard)
    assert heard.old == 0
    assert "zz" in records(tmp_path / "out")
    assert list(tmp_path.glob(".out.import-*")) == []


def test_a_finished_import_is_there_and_another_does_not_overwrite_it(tmp_path, cifs):
    first = run([cifs], tmp_path / "out")
    again = run([cifs], tmp_path / "out")
    assert again.was_there
    assert again.description == first.description
    with pytest.raises(BadOptions, match="other sources or settings"):
        run([cifs], tmp_path / "out", max_sites=10)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(BadOptions, match="exists"):
        run([cifs], tmp_path / "full")


def test_two_imports_into_one_folder_do_not_meet(tmp_path, cifs):
    fcntl = pytest.importorskip("fcntl")
    with pytest.raises(KeyboardInterrupt):
        run([cifs], tmp_path / "out", heard=Heard(stop_after=1))
    [work] = tmp_path.glob(".out.import-*")
    with (work / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for settings in ({}, {"max_sites": 3}):
            with pytest.raises(BadOptions, match="another process"):
                run([cifs], tmp_path / "out", **settings)


def test_the_pieces_decide_nothing_but_the_pieces(tmp_path, cifs, monkeypatch):
    run([cifs], tmp_path / "one", computed=tuple(OWN_PROPERTIES))
    monkeypatch.setattr(sources, "FILES_AT_ONCE", 4)
    run([cifs], tmp_path / "two", computed=tuple(OWN_PROPERTIES))
    one, two = ((tmp_path / n / "crystals.parquet").read_bytes() for n in ("one", "two"))
    assert one == two


def test_own_properties_are_those_of_the_bundled_set(tmp_path, cifs):
    run([cifs], tmp_path / "out", computed=tuple(OWN_PROPERTIES))
    held = {row["material_id"]: row for row in pq.read_table(DATA).to_pylist()}
    found = records(tmp_path / "out")
    differ = 0
    for name, (_, record) in found.items():
        values = record.properties
        assert values["reduced_formula"] == reduced_formula(record.crystal)
        assert values["n_sites"] == held[name]["n_sites"]
        assert values["n_elements"] == len(str(values["chemical_system"]).split("-"))
        assert 0.0 <= float(values.get("hhi", 0.0)) <= 10.0
        structure = record.crystal.to_structure()
        assert values["density"] == pytest.approx(structure.density, rel=1e-6)
        differ += values["space_group"] != held[name]["space_group"]
    # Six decimals of a CIF against float32, at a symprec of 0.01 Å.
    assert differ <= 2
    units = Imported(path=str(tmp_path / "out")).units
    assert units["hhi"] == "thousands"


def test_reduced_cells_are_canonical_and_say_so(tmp_path, some):
    doubled = {
        name: Crystal(
            np.diag([1, 2, 1]) @ c.lattice,
            np.concatenate([c.frac * [1, 0.5, 1], c.frac * [1, 0.5, 1] + [0, 0.5, 0]]),
            np.tile(c.numbers, 2),
        )
        for name, c in list(some.items())[:20]
    }
    path = frames(tmp_path / "a.xyz", doubled)
    run([path], tmp_path / "given")
    run([path], tmp_path / "out", cell="canonical")
    assert not Imported(path=str(tmp_path / "given")).reduced
    assert Imported(path=str(tmp_path / "out")).reduced
    for name, (_, record) in records(tmp_path / "out").items():
        assert record.crystal.n_sites <= some[name].n_sites
        expected, found = canonical_cell(record.crystal).lattice, record.crystal.lattice
        # As scalar products: how the cell lies in space is nothing.
        np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)


def test_only_columns_with_a_stated_unit_are_kept_and_the_others_are_named(tmp_path, some):
    path = frames(tmp_path / "a.xyz", some, gap=lambda i: i / 7, other=lambda i: i, note=str)
    report = run([path], tmp_path / "out", units={"gap": "eV", "note": "text"})
    found = records(tmp_path / "out")
    values = [found[name][1].properties for name in some]
    expected = [{"gap": i / 7, "note": str(i)} for i in range(len(some))]
    assert [{k: v[k] for k in ("gap", "note")} for v in values] == expected
    assert all(set(v) == {"gap", "note"} for v in values)
    assert dict(report.counted.columns) == {"other": len(some)}


@pytest.mark.parametrize(
    ("value", "beside", "expected"),
    [
        (1.5, {}, 1.5),
        ("1.5", {}, 1.5),
        ("1.5 eV", {}, 1.5),
        ("1.5eV", {}, 1.5),
        (1.5, {"gap_unit": "eV"}, 1.5),
        (1.5, {"gap_unit": ""}, 1.5),
        (None, {}, None),
        ("", {}, None),
        ("NaN", {}, None),
        (float("nan"), {}, None),
        ("1500 meV", {}, "stated unit is 'eV'"),
        (1500, {"gap_unit": "meV"}, "in 'meV' here"),
        (1.5, {"gap_units": "Ry"}, "in 'Ry' here"),
        ("wide", {}, "expected a number"),
        (float("inf"), {}, "infinite"),
        ([1.5], {}, "expected a number"),
    ],
)
def test_a_value_is_taken_in_the_stated_unit_or_refused_with_its_entry(
    tmp_path, value, beside, expected
):
    cell = {"lattice": (4 * np.eye(3)).tolist(), "frac": [[0, 0, 0]], "numbers": [29]}
    rows = [{"id": "a", **cell, "gap": value, **beside}, {"id": "b", **cell, "gap": 2.0}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run([tmp_path / "a.jsonl"], tmp_path / "out", units={"gap": "eV"})
    found = records(tmp_path / "out")
    assert found["b"][1].properties == {"gap": 2.0}
    assert not report.counted.columns
    if isinstance(expected, str):
        [problem] = problems(tmp_path / "out")
        assert (problem["id"], problem["kind"]) == ("a", "bad_label")
        assert expected in problem["reason"]
        assert "a" not in found
    else:
        assert found["a"][1].properties == ({} if expected is None else {"gap": expected})


def test_each_source_names_where_its_labels_are_from(tmp_path, some):
    names = list(some)
    a = frames(tmp_path / "a.xyz", {n: some[n] for n in names[:10]}, gap=lambda i: 1.0)
    b = frames(tmp_path / "b.xyz", {n: some[n] for n in names[10:30]}, gap=lambda i: 2.0)
    labels = {a: LabelSource("mp", "PBE"), b: LabelSource("jarvis", "OptB88vdW")}
    run([a, b], tmp_path / "out", units={"gap": "eV"}, labels=labels, computed=("density",))
    dataset = Imported(path=str(tmp_path / "out"))
    assert dataset.label_sources["gap"] == (labels[a], labels[b])
    assert dataset.label_sources["density"] == (LabelSource("computed"),)
    for _, record in records(tmp_path / "out").values():
        expected = {1.0: "mp", 2.0: "jarvis"}[record.properties["gap"]]
        assert record.sources == {"gap": expected}
    run([a], tmp_path / "one", units={"gap": "eV"}, labels=labels)
    schema = pq.read_schema(tmp_path / "one" / "crystals.parquet")
    assert "gap__source" not in schema.names


def test_an_import_of_imports_keeps_ids_splits_values_and_sources(tmp_path, some):
    a = frames(tmp_path / "a.xyz", some, gap=float)
    b = frames(tmp_path / "b.xyz", {f"b-{n}": c for n, c in some.items()}, gap=lambda i: float(-i))
    run([a, b], tmp_path / "one", units={"gap": "eV"})
    dataset = Imported(path=str(tmp_path / "one"))
    source = ImportSource.of("one", dataset, None)
    args = (ImportSettings(), LocalExecutor(), Heard())
    import_crystals([source], tmp_path / "two", *args, problems="report")
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, (split, record) in one.items():
        assert two[name][0] == split
        assert two[name][1].properties == record.properties
        assert two[name][1].sources == record.sources
        np.testing.assert_array_equal(two[name][1].crystal.frac, record.crystal.frac)
    assert Imported(path=str(tmp_path / "two")).label_sources == dataset.label_sources


def test_the_split_of_the_source_is_kept(tmp_path, some):
    given = ["train", "val", "test", "valid", "Train"]
    path = frames(tmp_path / "a.xyz", some, split=lambda i: given[i % 5])
    report = run([path], tmp_path / "out")
    found = records(tmp_path / "out")
    kept = {"valid": "val", "Train": "train"}
    for i, name in enumerate(some):
        assert found[name][0] == kept.get(given[i % 5], given[i % 5])
    assert report.description.split_by == "the source"


def test_a_split_that_is_none_is_left_out_and_said(tmp_path, some):
    path = frames(tmp_path / "a.xyz", some, split=lambda i: "tset" if i == 3 else "train")
    run([path], tmp_path / "out")
    [problem] = problems(tmp_path / "out")
    assert problem["kind"] == "bad_split"
    assert problem["id"] == list(some)[3]


def test_of_two_equal_ids_the_first_is_kept_and_both_places_are_said(tmp_path, some):
    names = list(some)
    a = frames(tmp_path / "a.xyz", {n: some[n] for n in names[:5]})
    b = frames(tmp_path / "b.xyz", {n: some[n] for n in names[4:9]})
    a.write_text(a.read_text() + frame_text(some[names[8]], {"id": names[0]}))
    report = run([a, b], tmp_path / "out")
    found = records(tmp_path / "out")
    assert set(found) == set(names[:9])
    np.testing.assert_array_equal(found[names[0]][1].crystal.lattice, some[names[0]].lattice)
    told = problems(tmp_path / "out")
    assert [(p["id"], p["kind"]) for p in told] == [
        (names[0], "duplicate_id"),
        (names[4], "duplicate_id"),
    ]
    assert [p["source"] for p in told] == [f"{a}#5", f"{b}#0"]
    assert f"{a}#4" in told[1]["reason"]
    assert report.description.counts["left_out"] == {"duplicate_id": 2}
    assert report.counted.n_crystals == 9


def test_files_of_the_same_name_in_two_folders_are_two_crystals(tmp_path, some):
    folders = []
    for name in ("x", "y"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "1.cif").write_text(cif_text(next(iter(some.values()))))
        folders.append(folder)
    run(folders, tmp_path / "out")
    assert set(records(tmp_path / "out")) == {"x/1", "y/1"}


def test_problems_are_lines_with_reasons_and_strict_makes_nothing(tmp_path, cifs):
    bad = {"a_cut.cif": "data_x\nloop_\n_atom_site_label\n", "b.vasp": "x", "c.jsonl": "{}\n"}
    for name, text in bad.items():
        (cifs / name).write_text(text)
    with pytest.raises(BadFile, match=r"3 of 93 entries .* the first, .*a_cut\.cif"):
        run([cifs], tmp_path / "out", strict=True)
    assert [path.name for path in tmp_path.iterdir()] == ["cifs"]
    report = run([cifs], tmp_path / "out")
    told = problems(tmp_path / "out")
    assert sorted(Path(p["source"].partition("#")[0]).name for p in told) == sorted(bad)
    assert dict(report.counted.kinds) == {"unreadable": 2, "bad_crystal": 1}
    assert len(records(tmp_path / "out")) == 90


def test_a_source_without_any_crystal_makes_no_dataset(tmp_path):
    (tmp_path / "a.cif").write_text("data_x\n")
    with pytest.raises(BadFile, match="1 of 1 entries"):
        run([tmp_path / "a.cif"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match="no file of a supported format"):
        run([tmp_path / "empty"], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cif", "empty"]


def test_a_result_cannot_be_among_the_files_it_is_made_of(tmp_path, cifs):
    for out in (cifs / "out", cifs / "a" / "b", cifs / ".." / "cifs" / "out"):
        with pytest.raises(BadOptions, match=r"is inside .*cifs"):
            run([cifs], out)
    assert all(path.suffix == ".cif" for path in cifs.iterdir())


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path, cifs):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOptions, match=r"cannot make a folder in .*file: "):
        run([cifs], tmp_path / "file" / "out")


def test_imported_datasets_below_a_folder_are_no_data(tmp_path, cifs, some):
    (cifs / "bad.cif").write_text("data_x\n")
    run([cifs], tmp_path / "out")
    (cifs / "sub").mkdir()
    (tmp_path / "out").rename(cifs / "sub" / "mine")
    (cifs / "mine.jsonl").write_text("{}\n")  # a file of the name of a dataset's is read
    report = run([cifs], tmp_path / "again")
    assert sources.datasets_within(cifs) == ["sub/mine"]
    assert set(records(tmp_path / "again")) == set(some)
    assert report.counted.n_problems == 2
    alone = run([cifs / "sub" / "mine"], tmp_path / "alone")
    assert alone.counted.n_crystals == len(some)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"units": {"density": "g/cm3"}, "computed": ("density",)}, "both computed and read"),
        *(
            ({"units": {name: "text"}}, f"property of {name}, .*(itself|id)")
            for name in (
                "id",
                "material_id",
                "numbers",
                "lattice",
                "frac_coords",
                "oxidation",
                "split",
                "gap__source",
            )
        ),
        ({"labels": {"a": LabelSource("mp", "PBE"), "b": LabelSource("mp", "SCAN")}}, "different"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(tmp_path, some, settings, says):
    paths = {name: frames(tmp_path / f"{name}.xyz", some) for name in "ab"}
    settings = {"units": {"gap": "eV"}, **settings}
    settings["labels"] = {paths[n]: s for n, s in settings.get("labels", {}).items()}
    with pytest.raises(BadOptions, match=says):
        run(list(paths.values()), tmp_path / "out", **settings)
    assert list(tmp_path.glob(".out*")) == []


def test_a_dataset_in_other_units_than_a_file_is_refused(tmp_path, some):
    a = frames(tmp_path / "a.xyz", some, gap=float)
    run([a], tmp_path / "one", units={"gap": "meV"})
    held = ImportSource.of("one", Imported(path=str(tmp_path / "one")), None)
    with pytest.raises(BadOptions, match="never converted"):
        import_crystals(
            [held, ImportSource.of(str(a), a, None)],
            tmp_path / "two",
            ImportSettings(units={"gap": "eV"}),
            LocalExecutor(),
            Heard(),
            problems="report",
        )


def test_a_folder_of_a_newer_matgen_is_refused_as_that(tmp_path, some):
    run([frames(tmp_path / "a.xyz", some)], tmp_path / "out")
    path = tmp_path / "out" / "dataset.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(NewerFormat, match="format 2"):
        Imported(path=str(tmp_path / "out")).units  # noqa: B018 - read when asked for
    path.write_text(path.read_text().replace('"format": 2', '"format": "x"'))
    with pytest.raises(BadFile, match="describes no"):
        Imported(path=str(tmp_path / "out")).units  # noqa: B018 - read when asked for


def test_the_fingerprint_follows_rows_and_units(tmp_path, some):
    a = frames(tmp_path / "a.xyz", some, gap=float)
    prints = set()
    for number, settings in enumerate(
        ({}, {"units": {"gap": "eV"}}, {"units": {"gap": "meV"}}, {"val_fraction": 0.5})
    ):
        run([a], tmp_path / f"{number}", **settings)
        prints.add(Imported(path=str(tmp_path / f"{number}")).fingerprint())
    assert len(prints) == 4
