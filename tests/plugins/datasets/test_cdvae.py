"""MP-20, Perov-5, Carbon-24 and MPTS-52 in the shape in which they are published."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from matgen.catalog import Catalog
from matgen.errors import BadCrystal, BadFile, UserError
from matgen_datasets import cdvae
from matgen_datasets.cdvae import Carbon24, CdvaeTable, Mp20, Mpts52, Perov5
from tests import served_data
from tests.local_server import Answer, Asked, Server, serving

SETS = (Mp20, Perov5, Carbon24, Mpts52)


class Silent:
    def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
        assert unit == "bytes"


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The folders of the two repositories."""

    def handle(asked: Asked) -> Answer:
        _, name, file = asked.path.split("/")
        return Answer(served_data.cdvae_files(name)[file], 200, {"ETag": '"1"'})

    with serving(handle) as server:
        monkeypatch.setattr(cdvae, "CDVAE", server.url)
        monkeypatch.setattr(cdvae, "DIFFCSP", server.url)
        yield server


@pytest.fixture
def mp_20(tmp_path: Path) -> Path:
    return served_data.fetched_folder("mp_20", tmp_path / "mp_20")


def everything(source: CdvaeTable) -> list[Any]:
    return [record for split in source.splits for record in source.records(split)]


@pytest.mark.parametrize("kind", [Perov5, Carbon24, Mpts52])
def test_a_fetched_set_has_its_three_official_splits(
    kind: type[CdvaeTable], repository: Server, tmp_path: Path
) -> None:
    source = kind(path=str(tmp_path))
    assert not source.is_fetched()
    source.fetch(tmp_path, observer=Silent())
    assert source.is_fetched()
    assert [len([*source.records(split)]) for split in ("train", "val", "test")] == [40, 10, 10]
    assert len({record.id for record in everything(source)}) == 60


def test_mp_20_with_other_bytes_than_the_published_ones_is_refused(
    repository: Server, tmp_path: Path
) -> None:
    with pytest.raises(BadFile, match=r"has sha256 .*expected 133bab58"):
        Mp20().fetch(tmp_path, observer=Silent())
    assert not (tmp_path / "train.csv").exists()


def test_a_set_that_moved_says_where_a_copy_would_be_looked_for(
    repository: Server, tmp_path: Path
) -> None:
    repository.handler = lambda _: Answer(status=404)
    with pytest.raises(UserError, match=r"status 404.*put it at .*train\.csv"):
        Perov5().fetch(tmp_path, observer=Silent())


def test_crystals_and_labels_are_those_that_were_published(mp_20: Path) -> None:
    matcher = StructureMatcher()
    for given, wanted in zip(everything(Mp20(path=str(mp_20))), served_data.records(), strict=True):
        assert given.id == wanted.id
        assert given.properties == pytest.approx(dict(wanted.properties), abs=1e-12)
        assert matcher.fit(given.crystal.to_structure(), wanted.crystal.to_structure())


@pytest.mark.parametrize("kind", SETS)
def test_every_property_has_a_unit_and_one_source_with_its_functional(
    kind: type[CdvaeTable], tmp_path: Path
) -> None:
    source = kind(path=str(served_data.fetched_folder(kind.name, tmp_path)))
    for record in everything(source):
        assert set(record.properties) == set(source.units)
    for sources in source.label_sources.values():
        assert [s.functional != "" for s in sources] == [True]


def test_the_gap_of_perov_5_is_the_smaller_of_its_two(tmp_path: Path) -> None:
    source = Perov5(path=str(served_data.fetched_folder("perov_5", tmp_path)))
    record = next(source.records("train"))
    assert record.properties["band_gap"] <= record.properties["direct_band_gap"]
    assert source.label_sources["band_gap"][0].functional == "GLLB-SC"


def test_where_the_files_lie_changes_no_fingerprint(mp_20: Path, tmp_path: Path) -> None:
    cached = served_data.fetched_folder("mp_20", tmp_path / "cache" / "datasets" / "mp_20")
    catalog = Catalog.load(cache=tmp_path / "cache")
    in_cache = catalog.build("dataset", "mp_20")
    assert isinstance(in_cache, Mp20)
    assert in_cache.folder() == cached
    assert in_cache.fingerprint() == Mp20(path=str(mp_20)).fingerprint()
    assert str(tmp_path) not in str(catalog.dump(in_cache))
    restored = catalog.restore(catalog.dump(in_cache))
    assert isinstance(restored, Mp20)
    assert restored.folder() == cached


def test_other_contents_have_another_fingerprint(mp_20: Path) -> None:
    source = Mp20(path=str(mp_20))
    before = source.fingerprint()
    (mp_20 / "val.csv").write_bytes(served_data.mp_20_csv(served_data.records()[40:49]))
    assert source.fingerprint() != before


def edited(path: Path, old: str, new: str) -> None:
    """Replace the first occurrence of a text in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("  1.00000000  1\n", "  1.00000000  0.5\n", "occupied 0.5"),
        ("_cell_length_a", "_cell_length_q", "_cell_length_a"),
        ("0.03876961022615433,", "unknown,", "expected a number"),
    ],
)
def test_a_bad_row_is_skipped_with_its_reason_and_the_others_stay(
    mp_20: Path, old: str, new: str, reason: str
) -> None:
    if "  1.0" in old:
        text = (mp_20 / "train.csv").read_text()
        place = text.index("_atom_site_occupancy")
        end = text.index("  1\n", place)
        (mp_20 / "train.csv").write_text(text[:end] + "  0.5\n" + text[end + 4 :])
    else:
        edited(mp_20 / "train.csv", old, new)
    source, skipped = Mp20(path=str(mp_20)), []  # type: ignore[var-annotated]
    assert len([*source.records("train", on_skip=skipped.append)]) == 39
    assert [s.source for s in skipped] == ["train.csv#0"]
    assert reason in skipped[0].reason
    with pytest.raises(BadCrystal, match=r"train\.csv#0"):
        [*source.records("train")]


def test_an_identifier_that_comes_twice_is_skipped_the_second_time(mp_20: Path) -> None:
    twice = served_data.records()[:5] + served_data.records()[:1]
    (mp_20 / "train.csv").write_bytes(served_data.mp_20_csv(twice))
    skipped: list[Any] = []
    found = [r.id for r in Mp20(path=str(mp_20)).records("train", on_skip=skipped.append)]
    assert found == [r.id for r in twice[:5]]
    assert "used twice" in skipped[0].reason


def test_a_file_cut_anywhere_is_damaged_and_names_the_command(mp_20: Path) -> None:
    path = mp_20 / "train.csv"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    # Also just before the last line break, where the last value is one digit short of 139.
    for cut in [len(whole) - 1, *rng.integers(10, len(whole) - 1, size=40).tolist()]:
        path.write_bytes(whole[:cut])
        with pytest.raises(BadFile, match=r"is damaged: .*matgen data fetch mp_20 --out"):
            [*Mp20(path=str(mp_20)).records("train", on_skip=lambda _: None)]


def test_a_csv_of_something_else_says_which_column_it_lacks(mp_20: Path) -> None:
    (mp_20 / "train.csv").write_bytes(served_data.csv_bytes(("a", "b"), [[1, 2]]))
    with pytest.raises(BadFile, match="no column material_id and no column cif"):
        [*Mp20(path=str(mp_20)).records("train")]


def test_a_checkout_with_git_lfs_pointers_says_what_to_run(mp_20: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (mp_20 / "train.csv").write_bytes(pointer)
    with pytest.raises(BadFile, match=r"git lfs pull --include train\.csv"):
        [*Mp20(path=str(mp_20)).records("train")]


def test_rows_are_read_a_few_at_a_time(mp_20: Path) -> None:
    class Counted(io.BytesIO):
        n_read = 0

        def read1(self, size: int | None = -1, /) -> bytes:
            Counted.n_read += 1
            return super().read1(size)

    content = served_data.mp_20_csv(served_data.records())
    rows = cdvae.csv_rows(Counted(content), damaged=BadFile)
    next(rows)
    assert Counted.n_read * io.DEFAULT_BUFFER_SIZE < len(content) / 2
