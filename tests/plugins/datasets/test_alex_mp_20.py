"""Alex-MP-20 as the zip of its csv files, unpacked, and as MatterGen's cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matgen.errors import BadCrystal, BadFile
from matgen_datasets import alex_mp_20
from matgen_datasets.alex_mp_20 import AlexMp20
from tests import served_data
from tests.local_server import file_handler, serving


class Silent:
    def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
        assert (part, unit) == ("alex_mp_20.zip", "bytes")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return served_data.fetched_folder("alex_mp_20", tmp_path / "zip")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    served_data.write_alex_cache(tmp_path / "cache")
    return tmp_path / "cache"


def everything(folder: Path) -> list[Any]:
    source = AlexMp20(path=str(folder))
    return [r for split in ("train", "val") for r in source.records(split)]  # type: ignore[arg-type]


def test_the_archive_is_downloaded_and_read_without_unpacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(file_handler(served_data.alex_zip())) as server:
        remote = alex_mp_20.RemoteFile(f"{server.url}/alex_mp_20.zip", "alex_mp_20.zip")
        monkeypatch.setattr(alex_mp_20, "ARCHIVE", remote)
        AlexMp20().fetch(tmp_path, observer=Silent())
    assert [r.id for r in everything(tmp_path)] == [r.id for r in served_data.records()]
    assert {p.suffix for p in tmp_path.iterdir()} <= {".zip", ".json"}


def test_the_archive_unpacked_gives_the_same_records(archive: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(archive / "alex_mp_20.zip") as packed:
        packed.extractall(tmp_path / "out")
    for folder in (tmp_path / "out", tmp_path / "out" / "alex_mp_20"):
        for one, other in zip(everything(folder), everything(archive), strict=True):
            assert (one.id, one.properties) == (other.id, other.properties)


def test_the_cache_gives_the_records_that_the_csv_gives(archive: Path, cache: Path) -> None:
    shared = {"energy_above_hull", "band_gap", "space_group"}
    for one, other in zip(everything(cache), everything(archive), strict=True):
        assert one.id == other.id
        kept = {k: v for k, v in other.properties.items() if k in shared}
        assert one.properties == pytest.approx(kept)
        # The csv holds eight decimals of the cell's parameters; volume is free of its setting.
        assert one.crystal.volume == pytest.approx(other.crystal.volume, rel=1e-6)
        assert sorted(one.crystal.numbers) == sorted(other.crystal.numbers)


def test_missing_values_are_absent_and_space_groups_are_numbers(cache: Path) -> None:
    for number, (given, wanted) in enumerate(
        zip(everything(cache), served_data.records(), strict=True)
    ):
        assert given.properties["space_group"] == wanted.properties["space_group"]
        assert ("band_gap" in given.properties) == ((number % 45) % 3 == 0)


def test_the_learned_modulus_is_another_source_than_the_computed_one() -> None:
    sources = AlexMp20().label_sources
    assert sources["ml_bulk_modulus"] != sources["bulk_modulus"]


def test_a_git_lfs_pointer_says_what_to_run(cache: Path, archive: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    for path in (cache / "train" / "pos.npy", archive / "alex_mp_20.zip"):
        path.write_bytes(pointer)
        with pytest.raises(BadFile, match=f"git lfs pull --include {path.name}"):
            everything(path.parents[1] if path.suffix == ".npy" else path.parent)


def test_an_array_of_objects_is_refused_and_never_unpickled(cache: Path) -> None:
    class Opened:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (cache / "executed",))

    ids = np.array([Opened()] * 45, dtype=object)
    np.save(cache / "train" / "structure_id.npy", ids, allow_pickle=True)
    with pytest.raises(BadFile, match=r"array of Python objects.*ids\.astype\(str\)"):
        everything(cache)
    assert not (cache / "executed").exists()


def test_integer_identifiers_are_identifiers(cache: Path) -> None:
    for split, n in (("train", 45), ("val", 15)):
        np.save(cache / split / "structure_id.npy", np.arange(n) + 1000 * (split == "val"))
    assert everything(cache)[0].id == "0"


@pytest.mark.parametrize(
    ("name", "keep", "reason"),
    [
        ("pos.npy", 100, "pos.npy is damaged"),
        ("cell.npy", -8, "cell.npy is damaged"),
        ("energy_above_hull.json", -20, "energy_above_hull.json is damaged"),
    ],
)
def test_a_truncated_file_of_the_cache_is_named(
    cache: Path, name: str, keep: int, reason: str
) -> None:
    path = cache / "val" / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadFile, match=reason):
        everything(cache)


def test_arrays_of_different_lengths_are_refused(cache: Path) -> None:
    path = cache / "train" / "num_atoms.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(BadFile, match=r"is damaged: it has shape"):
        everything(cache)
    values = {"values": [0.0], "property_source_doc_id": "energy_above_hull", "origins": None}
    served_data.write_alex_cache(cache.parent / "again")
    (cache.parent / "again" / "train" / "energy_above_hull.json").write_text(json.dumps(values))
    with pytest.raises(BadFile, match="does not hold 45 values"):
        everything(cache.parent / "again")


def test_a_crystal_that_is_not_finite_is_skipped_with_its_reason(cache: Path) -> None:
    path = cache / "train" / "pos.npy"
    positions = np.load(path)
    positions[0, 0] = np.nan
    np.save(path, positions)
    skipped: list[Any] = []
    records = [*AlexMp20(path=str(cache)).records("train", on_skip=skipped.append)]
    assert [r.id for r in records] == [r.id for r in served_data.records()[1:45]]
    assert served_data.records()[0].id in skipped[0].reason
    with pytest.raises(BadCrystal, match="not finite"):
        everything(cache)


def test_a_truncated_archive_names_the_command_that_gets_it_again(archive: Path) -> None:
    path = archive / "alex_mp_20.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match=r"no readable zip.*matgen data fetch alex_mp_20"):
        everything(archive)
    # Damaged within: the directory at its end is whole, the compressed bytes are not.
    path.write_bytes(whole[:500] + bytes(200) + whole[700:])
    with pytest.raises(BadFile, match=r"is damaged.*matgen data fetch alex_mp_20"):
        everything(archive)


def test_an_identifier_that_comes_twice_is_skipped_the_second_time(cache: Path) -> None:
    path = cache / "val" / "structure_id.npy"
    names = np.load(path)
    names[4] = names[2]
    np.save(path, names)
    skipped: list[Any] = []
    records = [*AlexMp20(path=str(cache)).records("val", on_skip=skipped.append)]
    assert len(records) == 14
    assert [s.source for s in skipped] == ["val#4"]


def test_a_space_group_that_does_not_exist_names_the_file(cache: Path) -> None:
    path = cache / "val" / "space_group.json"
    path.write_text(path.read_text().replace("R-3m", "R-9m", 1))
    with pytest.raises(BadFile, match=r"space_group\.json is damaged: 'R-9m' is no space group"):
        everything(cache)
