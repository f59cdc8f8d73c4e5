"""The Materials Project's own client against a server here that speaks as theirs does."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from matgen.errors import BadCrystal, BadFile, BadOptions, MissingDependency, UserError
from matgen_datasets.materials_project import MaterialsProject
from tests import served_data
from tests.local_server import Answer, Asked, Server, serving

KEY = "0123456789abcdef0123456789abcdef"


class Silent:
    def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
        assert (part, unit) == ("materials.jsonl", "entries")


def json_answer(data: list[Any], total: int) -> Answer:
    meta = {"api_version": "0.86.4", "total_doc": total, "time_stamp": "2025-01-01 00:00:00"}
    return Answer(
        json.dumps({"data": data, "meta": meta}).encode(), 200, {"Content-Type": "application/json"}
    )


def service(fails_on_page: str = "") -> Callable[[Asked], Answer]:
    """Answer as api.materialsproject.org does: heartbeat, summary and thermo."""
    chosen = served_data.records()
    by_id = {r.id: r for r in chosen}

    def handle(asked: Asked) -> Answer:
        parts = urlsplit(asked.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        if parts.path == "/heartbeat":
            beat = {"version": "0.86.4", "db_version": "2025.09.25"}
            told = {**beat, "access_controlled_batch_ids": []}
            return Answer(json.dumps(told).encode(), 200, {"Content-Type": "application/json"})
        if asked.headers.get("x-api-key") != KEY:
            return Answer(b'{"detail": "Invalid authentication credentials"}', 401)
        if parts.path.rstrip("/") == "/materials/summary":
            page, size = (
                int(query.get("_page", 1)),
                int(query.get("_per_page", query["_limit"])) if "_limit" in query else 1,
            )
            if query.get("_page") == fails_on_page != "":
                return Answer(b'{"detail": "maintenance"}', 500)
            rows = sorted(chosen, key=lambda r: r.id)[(page - 1) * size : page * size]
            return json_answer([served_data.mp_summary(r) for r in rows], len(chosen))
        if parts.path.rstrip("/") == "/materials/thermo":
            names = query["material_ids"].split(",")
            rows = [
                served_data.mp_thermo(by_id[name], kind)
                for name in names
                for kind in query["thermo_types"].split(",")
                # Half of the materials have no r2SCAN calculation.
                if kind == "GGA_GGA+U" or int(name.rpartition("-")[2]) % 2
            ]
            start = int(query.get("_skip", 0))
            limit = int(query.get("_limit", 1000))
            return json_answer(rows[start : start + limit], len(rows))
        return Answer(status=404)

    return handle


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("mp_api", reason="mp-api is not installed: pip install 'matgen[mp]'")
    from mp_api.client.core.client import _Rester

    _Rester._get_heartbeat_info.cache_clear()
    with serving(service()) as running:
        yield running


def dataset(server: Server, folder: Path, **settings: object) -> MaterialsProject:
    chosen = {"page_size": 25, "endpoint": f"{server.url}/", "path": str(folder), **settings}
    return MaterialsProject(**chosen)  # type: ignore[arg-type]


def both(source: MaterialsProject) -> list[Any]:
    return [r for split in ("train", "val") for r in source.records(split)]  # type: ignore[arg-type]


def test_the_crystals_and_labels_of_the_service_arrive(server: Server, tmp_path: Path) -> None:
    source = dataset(server, tmp_path)
    source.fetch(tmp_path, observer=Silent(), api_key=KEY)
    found = {r.id: r for r in both(source)}
    assert set(found) == {r.id for r in served_data.records()}
    for wanted in served_data.records():
        given = found[wanted.id]
        for title in ("energy_above_hull", "formation_energy_per_atom", "band_gap", "space_group"):
            assert given.properties[title] == pytest.approx(wanted.properties[title], abs=1e-12)
        assert given.crystal.numbers.tolist() == wanted.crystal.numbers.tolist()
        assert given.crystal.lattice == pytest.approx(wanted.crystal.lattice)
        assert given.crystal.frac == pytest.approx(wanted.crystal.frac)


def test_pages_of_the_size_asked_for_and_only_the_fields_needed(
    server: Server, tmp_path: Path
) -> None:
    dataset(server, tmp_path).fetch(tmp_path, observer=Silent(), api_key=KEY)
    asked = [parse_qs(urlsplit(a.path).query) for a in server.asked if "_page=" in a.path]
    assert [query["_page"] for query in asked] == [["1"], ["2"], ["3"]]
    assert all(query["_per_page"] == ["25"] for query in asked)
    assert all("structure" in query["_fields"][0] for query in asked)
    assert all(query["nsites_max"] == ["20"] for query in asked)


def test_a_fetch_that_failed_goes_on_at_the_page_that_failed(
    server: Server, tmp_path: Path
) -> None:
    source = dataset(server, tmp_path)
    server.handler = service(fails_on_page="2")
    with pytest.raises(UserError, match=r"does not answer: .*500.*goes on where this one stopped"):
        source.fetch(tmp_path, observer=Silent(), api_key=KEY)
    server.handler = service()
    n_before = len(server.asked)
    source.fetch(tmp_path, observer=Silent(), api_key=KEY)
    pages = [a.path for a in server.asked[n_before:] if "_page=" in a.path]
    assert "_page=1&" not in "".join(f"{page}&" for page in pages)
    assert len(both(source)) == 60


def test_what_is_fetched_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    source = dataset(server, tmp_path)
    source.fetch(tmp_path, observer=Silent(), api_key=KEY)
    n_before = len(server.asked)
    source.fetch(tmp_path, observer=Silent(), api_key=KEY)
    assert not [a for a in server.asked[n_before:] if "_page=" in a.path]


def test_energies_of_two_thermo_types_keep_their_source(server: Server, tmp_path: Path) -> None:
    source = dataset(server, tmp_path, thermo_types=("R2SCAN", "GGA_GGA+U"))
    # The client asks for r2SCAN where the enumeration says R2SCAN, and the answers follow it.
    source.fetch(tmp_path, observer=Silent(), api_key=KEY)
    names = [s.name for s in source.label_sources["energy_above_hull"]]
    assert names == ["mp_r2scan", "mp_gga_gga_u"]
    for record in both(source):
        wanted = "mp_r2scan" if int(record.id.rpartition("-")[2]) % 2 else "mp_gga_gga_u"
        assert record.sources["energy_above_hull"] == wanted
        assert "band_gap" not in record.sources


def test_a_wrong_key_is_one_sentence(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="401"):
        dataset(server, tmp_path).fetch(tmp_path, observer=Silent(), api_key="x" * 32)


def test_without_a_key_it_says_where_to_get_one(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match="--api-key, or in the variable MP_API_KEY"):
        dataset(server, tmp_path).fetch(tmp_path, observer=Silent())


def test_without_the_client_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("mp_api"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"pip install 'matgen\[mp\]'"):
        MaterialsProject().fetch(tmp_path, observer=Silent(), api_key=KEY)


def test_a_disordered_structure_is_skipped_with_its_reason(tmp_path: Path) -> None:
    folder = served_data.fetched_folder("materials_project", tmp_path)
    bad = served_data.mp_summary(served_data.records()[0]) | {"material_id": "mp-0"}
    bad["structure"]["sites"][0]["species"][0]["occu"] = 0.5
    with (folder / "materials.jsonl").open("a") as file:
        file.write(json.dumps(bad) + "\n")
    source = MaterialsProject(path=str(folder))
    skipped: list[Any] = []
    assert len([*source.records("train", on_skip=skipped.append)]) > 40
    assert [("mp-0" in s.reason, "disordered" in s.reason) for s in skipped] == [(True, True)]
    with pytest.raises(BadCrystal, match="disordered"):
        both(source)


def test_a_truncated_file_names_the_command_that_gets_it_again(tmp_path: Path) -> None:
    folder = served_data.fetched_folder("materials_project", tmp_path)
    path = folder / "materials.jsonl"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadFile, match="matgen data fetch materials_project --out"):
        both(MaterialsProject(path=str(folder)))
