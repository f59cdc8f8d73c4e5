"""An OPTIMADE provider on this machine, and entries of every kind that cannot be a crystal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from matgen.errors import BadCrystal, BadFile, BadOptions, UserError
from matgen.io.web import Patience
from matgen_datasets import optimade
from matgen_datasets.optimade import Optimade, crystal_of_attributes
from tests import served_data
from tests.local_server import Answer, Asked, Server, serving

GAPS = {"_demo_band_gap": "band_gap:eV"}


class Heard:
    def __init__(self) -> None:
        self.told: list[tuple[int, int | None]] = []

    def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
        assert (part, unit) == ("structures.jsonl", "entries")
        self.told.append((done, total))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimade, "_PATIENCE", Patience(tries=2, sleep=lambda _: None))


@pytest.fixture
def provider() -> Iterator[Server]:
    entries = [served_data.optimade_entry(r) for r in served_data.records()]
    with serving(served_data.optimade_handler(entries, 25)) as server:
        yield server


def fetched(provider: Server, folder: Path, **settings: Any) -> Optimade:
    source = Optimade(base_url=provider.url, path=str(folder), **settings)
    source.fetch(folder, observer=Heard())
    return source


def everything(source: Optimade) -> list[Any]:
    return [r for split in ("train", "val") for r in source.records(split)]  # type: ignore[arg-type]


def test_every_page_is_followed_and_the_crystals_are_those_served(
    provider: Server, tmp_path: Path
) -> None:
    found = {r.id: r for r in everything(fetched(provider, tmp_path, properties=GAPS))}
    assert len(provider.asked) == 3
    assert set(found) == {r.id for r in served_data.records()}
    for wanted in served_data.records():
        given = found[wanted.id]
        assert given.properties == {"band_gap": wanted.properties["band_gap"]}
        assert given.crystal.lattice == pytest.approx(wanted.crystal.lattice)
        assert given.crystal.frac == pytest.approx(wanted.crystal.frac, abs=1e-12)


def test_the_query_is_what_the_user_asked_for(provider: Server, tmp_path: Path) -> None:
    fetched(provider, tmp_path, filter='elements HAS "O"', properties=GAPS, page_size=25)
    query = parse_qs(urlsplit(provider.asked[0].path).query)
    assert query["filter"] == ['elements HAS "O"']
    assert query["page_limit"] == ["25"]
    assert {"species", "lattice_vectors", "_demo_band_gap"} <= set(
        query["response_fields"][0].split(",")
    )


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_the_address_may_have_its_version_or_not(
    provider: Server, tmp_path: Path, ending: str
) -> None:
    source = Optimade(base_url=provider.url + ending, path=str(tmp_path))
    source.fetch(tmp_path, observer=Heard())
    assert len(everything(source)) == 60


def test_the_observer_hears_entries_up_to_the_number_the_provider_gave(
    provider: Server, tmp_path: Path
) -> None:
    heard = Heard()
    Optimade(base_url=provider.url).fetch(tmp_path, observer=heard)
    assert heard.told == [(25, 60), (50, 60), (60, 60)]


def test_a_provider_that_fails_midway_is_gone_on_with(provider: Server, tmp_path: Path) -> None:
    whole = provider.handler
    provider.handler = lambda asked: (
        Answer(status=503) if "page_offset=25" in asked.path else whole(asked)
    )
    with pytest.raises(UserError, match="answered 503"):
        fetched(provider, tmp_path)
    assert not Optimade(path=str(tmp_path)).is_fetched()
    provider.handler = whole
    n_before = len(provider.asked)
    source = fetched(provider, tmp_path)
    assert "page_offset=25" in provider.asked[n_before].path
    assert len(everything(source)) == 60


def test_another_query_does_not_go_on_with_the_pages_of_the_first(
    provider: Server, tmp_path: Path
) -> None:
    fetched(provider, tmp_path)
    n_before = len(provider.asked)
    fetched(provider, tmp_path, filter='elements HAS "O"')
    assert "page_offset" not in provider.asked[n_before].path
    assert len(provider.asked) == 2 * n_before


def test_a_page_whose_next_page_is_itself_is_an_error(provider: Server, tmp_path: Path) -> None:
    entry = served_data.optimade_entry(served_data.records()[0])

    def handle(asked: Asked) -> Answer:
        url = f"{provider.url}{asked.path}"
        return Answer(json.dumps({"data": [entry], "links": {"next": url}, "meta": {}}).encode())

    provider.handler = handle
    with pytest.raises(BadFile, match="that same page as the next"):
        fetched(provider, tmp_path)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>welcome</html>", "answered no JSON"),
        (b'{"database": "of something else"}', "is it an OPTIMADE provider"),
        (b"[1, 2]", "JSON that is no object"),
    ],
)
def test_a_server_of_something_else_is_told_from_a_provider(
    provider: Server, tmp_path: Path, body: bytes, reason: str
) -> None:
    provider.handler = lambda _: Answer(body)
    with pytest.raises(BadFile, match=reason):
        fetched(provider, tmp_path)


def test_without_a_provider_it_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match=r"--set dataset\.base_url="):
        Optimade().fetch(tmp_path, observer=Heard())


def test_a_property_without_a_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match="write TITLE:UNIT"):
        _ = Optimade(properties={"_demo_band_gap": "band_gap"}).units


def attributes(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = served_data.optimade_entry(served_data.records()[3])["attributes"]
    return made | changes


def species(**changes: Any) -> list[dict[str, Any]]:
    first, *rest = attributes()["species"]
    return [first | changes, *rest]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nperiodic_dimensions": 2}, "periodic along 2"),
        ({"nperiodic_dimensions": None}, "periodic along None"),
        (
            {"species": species(chemical_symbols=["Fe", "Co"], concentration=[0.5, 0.5])},
            "no single element fully there",
        ),
        ({"species": species(concentration=[0.75])}, "no single element fully there"),
        (
            {"species": species(chemical_symbols=["Fe", "vacancy"], concentration=[0.9, 0.1])},
            "vacancy 0.1",
        ),
        ({"species": species(chemical_symbols=["X"])}, "'X'"),
        ({"species": species(chemical_symbols=["vacancy"])}, "vacancy"),
        ({"species": species(attached=["H"], nattached=[3])}, "no single element"),
        ({"species_at_sites": ["Nobody"]}, "Nobody"),
        ({"species_at_sites": []}, "do not fit 0 sites"),
        ({"cartesian_site_positions": None}, "do not fit"),
        ({"lattice_vectors": [[1, 0, 0], [0, 1, 0], [None, None, None]]}, "not finite"),
        ({"lattice_vectors": [[1, 0, 0], [0, 1, 0], [1, 1, 0]]}, "span no volume"),
        ({"structure_features": ["unknown_positions"]}, "positions are unknown"),
    ],
)
def test_an_entry_that_is_no_ordered_crystal_is_refused_with_its_reason(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadCrystal, match=reason):
        crystal_of_attributes(attributes(**changes))


def test_a_refused_entry_is_skipped_and_named(tmp_path: Path) -> None:
    entries = [served_data.optimade_entry(r) for r in served_data.records()]
    entries[5]["attributes"]["nperiodic_dimensions"] = 2
    entries.append(entries[0])
    served_data.write_lines(tmp_path / "structures.jsonl", entries)
    skipped: dict[str, str] = {}
    source = Optimade(path=str(tmp_path))
    n_kept = len([*source.records("train", on_skip=lambda s: skipped.update({s.source: s.reason}))])
    n_kept += len([*source.records("val", on_skip=lambda _: None)])
    assert n_kept == 59
    assert set(skipped) == {"structures.jsonl#5", "structures.jsonl#60"}
    assert entries[5]["id"] in skipped["structures.jsonl#5"]


def test_a_formula_is_never_on_both_sides(tmp_path: Path) -> None:
    source = Optimade(path=str(served_data.fetched_folder("optimade", tmp_path)), val_fraction=0.4)
    sides = [{r.id for r in source.records(split)} for split in ("train", "val")]
    assert 10 < len(sides[1]) < 40
    assert not sides[0] & sides[1]
    # Twice the same crystal under two names goes to one side.
    record = served_data.records()[0]
    twice = [served_data.optimade_entry(record) | {"id": name} for name in ("a", "b")]
    served_data.write_lines(tmp_path / "structures.jsonl", twice)
    assert sorted(len([*source.records(split)]) for split in ("train", "val")) == [0, 2]


def test_a_truncated_file_names_the_command_that_gets_it_again(tmp_path: Path) -> None:
    path = served_data.fetched_folder("optimade", tmp_path) / "structures.jsonl"
    path.write_bytes(path.read_bytes()[:-50])
    source = Optimade(path=str(tmp_path), base_url="https://example.org")
    with pytest.raises(BadFile, match=r"fetch optimade --set .*example\.org.* --out"):
        everything(source)
