"""From records to a store: reuse, interruption, what is left out, and what is refused."""

import json
import logging
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from matgen import DatasetSource, Record
from matgen.data import prepare as preparing
from matgen.data.prepare import prepare
from matgen.data.sketch import LEVELS
from matgen.errors import BadFile, BadOptions
from matgen_executors.local import LocalExecutor
from matgen_executors.processes import ProcessExecutor
from matgen_materium.atoms import Atoms
from matgen_materium.conditions import BandGap, Column, Density, NSites
from matgen_materium.orderings import Low, Random
from matgen_toy.cubic import Cubic
from matgen_toy.textbook import Textbook
from tests.unit.data.small_data import (
    Hardness,
    PowerCut,
    Salts,
    Unheard,
    Watched,
    built,
    catalog,
    contents,
    plan,
    stops_at,
)

HARDNESS = Column(title="hardness", measure="GPa")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 2)


def test_a_store_is_reused_while_nothing_changed(tmp_path: Path) -> None:
    built(tmp_path)
    encoded: list[int] = []
    built(tmp_path, Watched(before=encoded.append))
    assert encoded == []


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": Salts(hardness=3.0)},
        {"split": "val"},
        {"representation": Atoms(max_sites=10)},
        {"representation": Cubic()},
        {"ordering": Low()},
        {"ordering": Random()},
        {"conditions": (Density(),)},
        {"conditions": (NSites(), Density())},
        {"seed": 1},
    ],
)
def test_a_store_is_built_anew_when_what_it_is_made_from_changes(
    tmp_path: Path, change: Mapping[str, Any]
) -> None:
    before = built(tmp_path, conditions=(Density(), NSites()))
    after = built(tmp_path, **{"conditions": (Density(), NSites()), **change})
    assert after.path != before.path
    assert after.fingerprint != before.fingerprint


def test_a_build_leaves_nothing_but_the_store(tmp_path: Path) -> None:
    store = built(tmp_path)
    assert list(tmp_path.iterdir()) == [store.path]


@pytest.mark.usefixtures("small_chunks")
def test_a_build_that_stopped_half_way_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "conditions": (Density(), HARDNESS),
        "ordering": Random(),
        "dataset": Salts(flaws=("many", "unreadable")),
    }
    whole = built(tmp_path / "whole", **options)
    with pytest.raises(PowerCut):
        built(tmp_path / "cut", stops_at(4), **options)
    rest: list[int] = []
    cut = built(tmp_path / "cut", Watched(before=rest.append), **options)
    assert rest == [4, 6]
    assert contents(cut.path) == contents(whole.path)


@pytest.mark.usefixtures("small_chunks")
def test_a_build_that_lost_its_index_is_finished_again(tmp_path: Path) -> None:
    store = built(tmp_path)
    before = contents(store.path)
    (store.path / "index.json").unlink()
    (store.path / "ids.npy").write_bytes(b"half")
    assert contents(built(tmp_path).path) == before


@pytest.mark.usefixtures("small_chunks")
def test_work_cut_into_other_chunks_is_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PowerCut):
        built(tmp_path, stops_at(4))
    monkeypatch.setattr(preparing, "CHUNK", 3)
    store = built(tmp_path)
    assert [json.loads(line) for line in (store.path / "names.jsonl").read_text().splitlines()] == [
        record.id for record in Salts().records("train")
    ]


@pytest.mark.usefixtures("small_chunks")
def test_damaged_unfinished_work_says_which_file_to_delete(tmp_path: Path) -> None:
    with pytest.raises(PowerCut):
        built(tmp_path, stops_at(4))
    [part] = tmp_path.glob(".*/000000002.npz")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(BadFile, match=r"000000002\.npz is damaged .*; delete it"):
        built(tmp_path)
    part.unlink()
    assert len(built(tmp_path)) == 7


@pytest.mark.usefixtures("small_chunks")
def test_progress_counts_every_record_once_also_those_done_before(tmp_path: Path) -> None:
    dataset = Salts(flaws=("overlap", "many"))
    with pytest.raises(PowerCut):
        built(tmp_path, stops_at(4), dataset=dataset)
    heard = Unheard()
    prepare(plan(dataset=dataset), tmp_path, catalog(), LocalExecutor(), observer=heard)
    assert heard.n_records == 9


def test_a_second_build_of_the_same_store_waits_for_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waits = threading.Event()
    encoded: list[int] = []

    class Tell(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waits.set()

    def start_another(first: int) -> None:
        encoded.append(first)
        if len(encoded) == 1:
            second.start()
            assert waits.wait(30)

    executor = Watched(before=start_another)
    second = threading.Thread(target=built, args=(tmp_path, executor))
    caplog.set_level(logging.INFO, preparing.log.name)
    preparing.log.addHandler(handler := Tell())
    try:
        built(tmp_path, executor)
    finally:
        preparing.log.removeHandler(handler)
    second.join()
    assert encoded == [0]


@pytest.mark.slow
@pytest.mark.usefixtures("small_chunks")
def test_two_workers_give_the_store_that_one_gives(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "dataset": Textbook(),
        "ordering": Random(),
        "conditions": (Density(), NSites()),
    }
    one = built(tmp_path / "one", **options)
    two = built(tmp_path / "two", ProcessExecutor(n_workers=2), **options)
    assert contents(two.path) == contents(one.path)


def test_every_record_left_out_is_counted_and_has_its_reason(tmp_path: Path) -> None:
    store = built(tmp_path, dataset=Salts(flaws=("many", "long", "overlap", "unreadable")))
    lines = (store.path / "dropped.jsonl").read_text().splitlines()
    reasons = {row["id"]: (row["kind"], row["reason"]) for row in map(json.loads, lines)}
    assert store.index["dropped"] == {"outside range": 2, "bad crystal": 1, "unreadable": 1}
    assert len(store) == 7
    assert reasons["many"] == ("outside range", "27 sites, the representation holds 20")
    assert reasons["long"][0] == "outside range"
    assert "400" in reasons["long"][1]
    assert reasons["overlap"][0] == "bad crystal"
    assert "0.04 Å apart" in reasons["overlap"][1]
    assert reasons["page 3"] == ("unreadable", "the scan is blank")


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("last", [True, False])
def test_a_chunk_that_is_dropped_whole_takes_no_values_with_it(tmp_path: Path, last: bool) -> None:
    dataset = Salts(flaws=("many", "overlap", "long"), flaws_last=last)
    store = built(tmp_path, representation=Cubic(), dataset=dataset)
    values = store.gather(np.arange(7), epoch=0).values
    assert len(store) == 7
    assert values is not None
    assert sorted(set(values[values > 0])) == pytest.approx([4.0 + 0.3 * k for k in range(7)])


def test_a_dataset_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match=r"no crystal .* could be encoded; the first: .* 8 sites"):
        built(tmp_path, representation=Atoms(max_sites=2))


def test_a_condition_in_another_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match=r"'hardness' is in 'GPa', the dataset gives .* 'kbar'"):
        built(tmp_path, dataset=Salts(hardness_unit="kbar"), conditions=(HARDNESS,))
    assert list(tmp_path.iterdir()) == []


def test_a_condition_without_its_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match=r"'band_gap', which dataset 'salts' does not have"):
        built(tmp_path, conditions=(BandGap(),))
    with pytest.raises(BadOptions, match="it has no columns"):
        built(tmp_path, dataset=Textbook(), conditions=(BandGap(),))


def test_a_fitted_condition_is_saved_with_the_mean_of_what_is_known(tmp_path: Path) -> None:
    store = built(tmp_path, conditions=(HARDNESS,))
    [condition] = store.conditions
    assert isinstance(condition, Column)
    assert condition.centre == 3.5  # of 2, 3, 4, 5
    assert condition.scale == pytest.approx(np.sqrt(1.25))
    assert store.index["known"] == {"hardness": 4}
    assert store.index["range"] == {"hardness": [2.0, 5.0]}
    quantiles = store.index["quantiles"]["hardness"]
    assert (len(quantiles), quantiles[0], quantiles[-1]) == (len(LEVELS), 2.0, 5.0)


def test_validation_sees_conditions_as_they_were_fitted_to_the_training_data(
    tmp_path: Path,
) -> None:
    train = built(tmp_path, conditions=(HARDNESS,))
    harder = Salts(hardness=20.0)
    val = built(tmp_path, split="val", dataset=harder, conditions=train.conditions)
    assert val.conditions == train.conditions
    first = val.features("hardness", np.array([0]))
    np.testing.assert_allclose(first, [[(20.0 - 3.5) / np.sqrt(1.25)]], rtol=1e-6)  # float32


def test_a_store_built_again_from_its_fitted_conditions_is_the_same_one(tmp_path: Path) -> None:
    asked = built(tmp_path / "asked", conditions=(HARDNESS,))
    again = built(tmp_path / "again", conditions=asked.conditions)
    assert again.fingerprint == asked.fingerprint
    assert contents(again.path) == contents(asked.path)


def test_a_condition_fitted_to_other_data_keeps_what_it_was_fitted_to(tmp_path: Path) -> None:
    soft = built(tmp_path / "soft", conditions=(HARDNESS,))
    hard = built(
        tmp_path / "hard", dataset=Salts(hardness=20.0), conditions=(*soft.conditions, Density())
    )
    assert hard.conditions[0] == soft.conditions[0]
    first = hard.features("hardness", np.array([0]))
    np.testing.assert_allclose(first, [[(20.0 - 3.5) / np.sqrt(1.25)]], rtol=1e-6)  # float32


def test_of_two_settings_the_one_that_was_given_is_not_measured(tmp_path: Path) -> None:
    given = Column(title="hardness", measure="GPa", centre=7.0)
    [condition] = built(tmp_path, conditions=(given,)).conditions
    assert isinstance(condition, Column)
    assert condition.centre == 7.0
    assert condition.scale == pytest.approx(np.sqrt(1.25))


def test_an_optional_condition_without_its_column_has_no_values(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"dataset": Textbook(), "representation": Cubic()}
    asked["conditions"] = (BandGap(), Density())
    store = built(tmp_path, **asked, optional=frozenset({"band_gap"}))
    assert store.index["known"] == {"band_gap": 0, "density": 14}
    assert np.isnan(store.features("band_gap", np.arange(14))).all()
    with pytest.raises(BadOptions, match="'band_gap', which dataset 'textbook' does not have"):
        built(tmp_path / "other", **asked, optional=frozenset({"density"}))


def test_an_optional_condition_in_another_unit_is_refused_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match=r"'hardness' is in 'GPa', the dataset gives .* 'kbar'"):
        built(
            tmp_path,
            dataset=Salts(hardness_unit="kbar"),
            conditions=(HARDNESS,),
            optional=frozenset({"hardness"}),
        )


def test_a_value_that_is_not_a_number_counts_as_unknown(tmp_path: Path) -> None:
    absent, nan = (
        built(tmp_path, dataset=Salts(unknown_as_nan=as_nan), conditions=(HARDNESS,))
        for as_nan in (False, True)
    )
    assert nan.conditions == absent.conditions
    assert nan.index["known"] == absent.index["known"]
    assert contents(nan.path)["feature_0_dense.npy"] == contents(absent.path)["feature_0_dense.npy"]


def test_a_value_that_a_condition_cannot_use_is_named_with_its_record(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match=r"'hardness' cannot use the value -2\.0 of record 'tr"):
        built(tmp_path, dataset=Salts(hardness=-2.0), conditions=(Hardness(),))


class OddNames(DatasetSource):
    """Salts whose ids are not what one expects, one with a value beyond any float."""

    name = "odd_names"
    ids: ClassVar = ("two\nlines", "", "\ud800", "\u00e9\u2028", "e", "f", "g")

    @property
    def units(self) -> Mapping[str, str]:
        return {"hardness": "GPa"}

    def records(self, split: Any, *, on_skip: Any = None) -> Iterator[Record]:
        for name, record in zip(self.ids, Salts().records(split), strict=True):
            yield Record(name, record.crystal, {"hardness": 10**400 if name == "e" else 2.0})

    def fingerprint(self) -> str:
        return "odd"


def test_ids_of_any_text_and_values_beyond_numbers_survive(tmp_path: Path) -> None:
    odd = plan(dataset=OddNames(), conditions=(Hardness(),))
    known = catalog()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(known, "dump", lambda component: {"use": component.name, "settings": {}})
        patched.setattr(known, "restore", lambda saved: Atoms())
        store = prepare(odd, tmp_path, known, LocalExecutor(), observer=Unheard())
    lines = (store.path / "names.jsonl").read_text().splitlines()
    assert tuple(json.loads(line) for line in lines) == OddNames.ids
    assert store.index["known"] == {"hardness": 6}


def test_a_lock_that_was_tidied_away_is_taken_again(tmp_path: Path) -> None:
    parts = tmp_path / ".parts"
    with preparing._alone(parts):
        shutil.rmtree(parts)
    opened = []
    real = Path.open

    def open_after_another_tidied(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "lock" and not opened:
            opened.append(self)
            shutil.rmtree(parts)
        return real(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "open", open_after_another_tidied)
        with preparing._alone(parts):
            assert (parts / "lock").exists()
    assert opened
