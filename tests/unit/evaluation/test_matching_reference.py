"""References in memory and mapped from a folder give the same answers; torn folders are rebuilt."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from matgen.errors import BadFile
from matgen.evaluation.matching import composition_key, novel_mask
from matgen.evaluation.packed_crystals import PackedCrystals
from matgen.evaluation.reference import Reference, reduction_version
from matgen.records import Crystal, Record, Skipped
from matgen.roles.dataset import DatasetSource, Split
from matgen.testing import crystals as hostile
from matgen_executors.local import LocalPool


class _Hostile(DatasetSource):
    """The hostile crystals, and one that cannot be compared."""

    name = "hostile"

    @property
    def units(self) -> Mapping[str, str]:
        return {}

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        del split, on_skip
        for index, crystal in enumerate(hostile()):
            yield Record(f"row-{index}", crystal)
        yield Record("flat", Crystal(np.zeros((3, 3)), np.zeros((1, 3)), np.array([11])))

    def fingerprint(self) -> str:
        return "one/two"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / f"one_two-{reduction_version()}"


@pytest.fixture
def mapped(tmp_path: Path) -> Reference:
    return Reference.from_dataset(_Hostile(), cache=tmp_path)


def test_a_mapped_reference_holds_what_the_source_has(mapped: Reference) -> None:
    assert (len(mapped), mapped.n_skipped) == (len(hostile()), 1)
    keys = {composition_key(crystal) for crystal in hostile()}
    for key in keys:
        known = mapped.known(key)
        assert known is not None
        for row, candidate in known.candidates():
            original = hostile()[row]
            assert np.array_equal(candidate.crystal.lattice, original.lattice)
            assert np.array_equal(candidate.crystal.frac, original.frac)
            assert np.array_equal(candidate.crystal.numbers, original.numbers)
            assert mapped.identifier(row) == f"row-{row}"
    assert mapped.known(((1, 7), (2, 9))) is None
    assert mapped.chemical_systems() == {frozenset(c.numbers.tolist()) for c in hostile()}


def test_a_mapped_reference_is_found_again_without_the_source(
    mapped: Reference, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(_Hostile, "records", gone)
    again = Reference.from_dataset(_Hostile(), cache=tmp_path)
    assert len(again) == len(mapped)
    assert again.description == mapped.description
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_memory_and_folder_give_the_same_masks_and_ids(mapped: Reference) -> None:
    in_memory = Reference.from_dataset(_Hostile())
    samples = [*hostile(), Crystal(np.eye(3) * 3.0, np.zeros((1, 3)), np.array([26]))]
    plain = novel_mask(samples, in_memory, LocalPool())
    # The second time with the reduced cells that the first one left.
    for _ in range(2):
        found = novel_mask(samples, mapped, LocalPool())
        assert (found.mask, found.partners) == (plain.mask, plain.partners)
    assert plain.mask == [False] * len(hostile()) + [True]
    assert plain.partners[0] is not None
    assert in_memory.identifier(plain.partners[0]) == "row-0"


def test_comparing_leaves_reduced_cells_behind(mapped: Reference, folder: Path) -> None:
    assert not np.load(folder / "reduced_check.npy").any()
    novel_mask(hostile()[:1], mapped, LocalPool())
    assert np.count_nonzero(np.load(folder / "reduced_check.npy")) == 1


def test_a_reduced_cell_that_is_torn_is_not_used(mapped: Reference, folder: Path) -> None:
    novel_mask(hostile(), mapped, LocalPool())
    packed = PackedCrystals.opened(folder)
    assert packed.reduced(0) is not None
    packed.arrays["reduced_lattice"][0, 0, 0] += 1e-9
    assert packed.reduced(0) is None


def test_what_goes_to_a_worker_is_small(mapped: Reference) -> None:
    known = mapped.known(composition_key(hostile()[7]))
    assert known is not None
    assert len(pickle.dumps(known)) < 1000
    assert len(pickle.loads(pickle.dumps(known)).candidates()) == len(known.candidates())


@pytest.mark.parametrize("name", ["frac.npy", "reference.json", "reduced_kinds.npy"])
@pytest.mark.parametrize("fault", ["gone", "cut", "empty"])
def test_a_torn_folder_is_built_again(
    mapped: Reference, tmp_path: Path, folder: Path, name: str, fault: str
) -> None:
    # A worker that starts later: this process has the whole arrays mapped.
    from matgen.evaluation import reference as module

    module._mapped.cache_clear()
    path = folder / name
    whole = path.read_bytes()
    path.unlink()
    if fault != "gone":
        path.write_bytes(b"" if fault == "empty" else whole[: len(whole) // 2])
    again = Reference.from_dataset(_Hostile(), cache=tmp_path)
    assert len(again) == len(mapped) == len(list(again))
    assert path.stat().st_size == len(whole)


def test_arrays_that_do_not_fit_together_are_refused(mapped: Reference, folder: Path) -> None:
    del mapped
    np.save(folder / "rows.npy", np.arange(3))
    with pytest.raises(BadFile, match="do not fit"):
        PackedCrystals.opened(folder)


def test_two_builders_at_once_leave_one_whole_reference(tmp_path: Path) -> None:
    found: list[int] = []
    start = threading.Barrier(4)

    def build() -> None:
        start.wait()
        found.append(len(Reference.from_dataset(_Hostile(), cache=tmp_path)))

    builders = [threading.Thread(target=build) for _ in range(4)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert found == [len(hostile())] * 4
    assert len(list(tmp_path.iterdir())) == 1


def test_an_empty_reference_knows_nothing() -> None:
    empty = Reference([])
    assert (len(empty), list(empty), empty.known(((11, 1),))) == (0, [], None)
    assert novel_mask(hostile()[:1], empty, LocalPool()).mask == [True]
