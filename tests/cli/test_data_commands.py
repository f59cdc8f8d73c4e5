"""``matgen data list|info|stats|check|split`` and mixtures, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from matgen import Crystal, Record
from matgen.data.split_folder import write_split
from matgen.data.splitting import SplitPlan
from matgen.records import LabelSource
from matgen_executors.local import LocalExecutor
from matgen_toy.textbook import Textbook
from tests.cli.conftest import Cli
from tests.unit.data.listed import Listed, supercell

FEW = ("--workers", 1)


def written(folder: Path, crystals: list[Crystal], source: LabelSource, gap_ev: float) -> Path:
    """Write crystals with one gap each as a folder with a training and a validation split."""
    rows = tuple(
        ("train", Record(f"{source.name}-{i}", crystal, {"band_gap": gap_ev + i}))
        for i, crystal in enumerate(crystals)
    )
    listed = Listed(rows=rows, measured_in={"band_gap": "eV"}, sourced={"band_gap": (source,)})
    with LocalExecutor().open() as pool:
        write_split(
            SplitPlan("formula", 0.3, 0.0), listed, folder, pool, lambda *_: None, made_from={}
        )
    return folder


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The textbook's crystals with gaps of one functional, some others with gaps of another."""
    root = tmp_path_factory.mktemp("sources")
    ours = [record.crystal for record in Textbook().records("train")]
    others = [
        Crystal((3.0 + 0.1 * z / 10) * np.eye(3), np.zeros((1, 3)), np.array([z]))
        for z in (12, 20, 21, 22, 23, 24, 27, 28, 30)
    ]
    return (
        written(root / "pbe", ours, LabelSource("pbe", "PBE"), 1.0),
        written(root / "hse", others, LabelSource("hse", "HSE06"), 2.0),
    )


def test_list_names_every_dataset_and_whether_it_is_here(cli: Cli) -> None:
    rows = {row["name"]: row for row in json.loads(cli("data", "list", "--json").stdout)}
    assert rows["datasets:mp_le20"]["here"] == "yes"
    assert rows["datasets:mp_le20"]["splits"] == ["train", "val"]
    assert rows["datasets:mp_le20"]["about"].startswith("Materials Project, PBE")
    assert rows["datasets:files"]["here"] == "needs path"
    assert rows["datasets:mp_20"]["here"] == "no: matgen data fetch mp_20"
    assert all(row["about"] for row in rows.values())


def test_info_tells_units_sources_counts_and_what_is_missing(cli: Cli) -> None:
    told = json.loads(cli("data", "info", "mp_le20", "--json").stdout)
    assert told["splits"] == {"train": 29_599, "val": 8_623}
    gap = told["properties"]["band_gap"]
    assert gap["unit"] == "eV"
    assert gap["sources"] == [{"name": "mp_le20", "functional": "PBE, PBE+U"}]
    assert gap["missing"] == {"train": 855, "val": 119}
    assert told["licence"] == "CC BY 4.0"
    assert told["fingerprint"].startswith("mp_le20-stable-")
    table = cli("data", "info", "textbook").stdout
    assert "train: 14 crystals" in table
    assert "licence: not stated" in table


def test_info_takes_settings_of_the_dataset(cli: Cli) -> None:
    done = cli("data", "info", "mp_le20", "--set", "dataset.rows=all", "--json")
    assert json.loads(done.stdout)["splits"]["train"] == 62_643
    done = cli("data", "info", "mp_le20", "--set", "dataset.colour=red")
    assert done.returncode == 2
    assert "has no setting 'colour'" in done.stderr


def test_stats_writes_figures_and_a_page_and_prints_where(cli: Cli, tmp_path: Path) -> None:
    done = cli("data", "stats", "textbook", "--split", "val", *FEW, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "textbook-stats"
    assert done.stdout.splitlines()[-1] == "textbook-stats/index.html"
    assert json.loads((folder / "summary.json").read_text())["counts"] == {"val": 3}
    assert {"elements.png", "elements.svg", "index.html"} <= {p.name for p in folder.iterdir()}
    done = cli("data", "stats", "textbook", "--out", tmp_path / "here", "--json", *FEW)
    assert json.loads(done.stdout)["n_crystals"] == 17
    done = cli("data", "stats", "textbook", "--split", "holdout")
    assert done.returncode == 2
    assert "no split 'holdout'; it has train, val" in done.stderr


def test_check_finds_leakage_reports_it_and_is_strict_only_on_demand(
    cli: Cli, tmp_path: Path
) -> None:
    clean = cli("data", "check", "textbook", "--strict", "--json", *FEW)
    assert clean.returncode == 0, clean.stderr
    assert json.loads(clean.stdout)["leakage"] == 0
    copper = Crystal(3.6 * np.eye(3), np.zeros((1, 3)), np.array([29]))
    twice = supercell(copper, np.diag([1, 1, 2]))
    folder = tmp_path / "leaky"
    listed = Listed(
        rows=(("train", Record("a", copper, {"year": 1.0})), ("train", Record("b", twice))),
        measured_in={"year": "year"},
    )
    with LocalExecutor().open() as pool:
        write_split(
            SplitPlan("formula", 0.0, 0.0), listed, folder, pool, lambda *_: None, made_from={}
        )
    _move_to_validation(folder, "b")
    report = tmp_path / "report.jsonl"
    done = cli("data", "check", folder, "--out", report, *FEW)
    assert done.returncode == 0
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert {(line["kind"], tuple(line["ids"]), tuple(line["splits"])) for line in lines} == {
        ("leakage: same structure", ("a", "b"), ("train", "val")),
        ("leakage: same formula and space group", ("a", "b"), ("train", "val")),
    }
    assert "year 1" in done.stderr
    assert cli("data", "check", folder, "--strict", *FEW).returncode == 2


def _move_to_validation(folder: Path, name: str) -> None:
    """Put a row into the validation split by hand, as someone else's split might."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "crystals.parquet")
    sides = ["val" if row == name else "train" for row in table["id"].to_pylist()]
    place = table.column_names.index("split")
    pq.write_table(
        table.set_column(place, table.schema.field("split"), pa.array(sides)),
        folder / "crystals.parquet",
    )
    told = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**told, "splits": ["train", "val"]}))


def test_a_split_is_a_dataset_and_does_not_overwrite(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "split"
    asked = ("data", "split", "textbook", "--out", out, "--by", "system", "--val", 0.3)
    done = cli(*asked, "--json", *FEW)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)["counts"]
    assert sum(counts.values()) == 17
    told = json.loads(cli("data", "info", out, "--json").stdout)
    assert told["splits"] == counts
    done = cli(*asked, *FEW)
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert cli("data", "check", out, "--strict", *FEW).returncode == 0


def test_a_split_by_a_column_that_is_not_there_is_refused(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "split"
    done = cli("data", "split", "mp_le20", "--out", out, "--by", "time", *FEW)
    assert done.returncode == 2
    assert "has no column 'year' to split by time; it has band_gap" in done.stderr
    assert not out.exists()


def test_a_mixed_property_is_learned_only_from_the_sources_that_are_named(
    cli: Cli, two_sources: tuple[Path, Path], tmp_path: Path
) -> None:
    mixture = "+".join(map(str, two_sources))
    told = json.loads(cli("data", "info", mixture, "--json").stdout)
    by_source = told["properties"]["band_gap"]["known_by_source"]
    assert by_source == {"pbe": 14, "hse": 9}
    asked = ("data", "prepare", "--dataset", mixture, "--cond", "band_gap", "--json")
    done = cli(*asked, "--out", tmp_path / "none")
    assert done.returncode == 2
    assert "mixes values of 'band_gap' from pbe (PBE), hse (HSE06)" in done.stderr
    for named, expected in ((["hse"], 9), (["pbe"], 14), (["pbe", "hse"], 23)):
        done = cli(
            *asked, "--out", tmp_path / "-".join(named),
            "--set", f"condition.band_gap.sources={json.dumps(named)}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        stores = json.loads(done.stdout)
        assert sum(store["known"]["band_gap"] for store in stores.values()) == expected
        assert sum(store["n_sequences"] for store in stores.values()) == 23
    done = cli(*asked, "--out", tmp_path / "other", "--set", 'condition.band_gap.sources=["gw"]')
    assert done.returncode == 2
    assert "names the source 'gw'" in done.stderr
