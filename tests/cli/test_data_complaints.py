"""What the ``matgen data`` commands say of mistakes, of what they leave out, and of Ctrl-C."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer

from matgen.catalog import Catalog
from matgen.commands.data_sources import dataset_of
from matgen.commands.data_stats import _filling
from matgen.commands.stages import stoppable
from matgen.errors import BadFile
from tests.cli.conftest import Cli

FEW = ("--workers", 1)
CRYSTAL = (
    '2\nLattice="{a} 0 0 0 {a} 0 0 0 {a}" Properties=species:S:1:pos:R:3 id={name} gap=1.5 '
    'note=ok made={made} pbc="T T T"\nNa 0 0 0\nCl 2 2 2\n'
)
UNITS = "dataset.column_units={gap='eV', note='text', made='text'}"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.extxyz"
    rows = [("a", 4.0, "2019-03-01"), ("b", 4.5, "2020"), ("a", 5.0, "2021-01")]
    path.write_text("".join(CRYSTAL.format(name=n, a=a, made=m) for n, a, m in rows))
    return path


def test_columns_without_a_unit_are_named_with_a_flag_that_works(cli: Cli, mine: Path) -> None:
    for command in ("info", "stats", "check"):
        told = cli("data", command, mine, cwd=mine.parent).stderr
        assert '--set \'dataset.column_units={gap="UNIT", made="UNIT", note="UNIT"}\'' in told
    flag = 'dataset.column_units={gap="eV", made="text", note="text"}'
    done = cli("data", "info", mine, "--set", flag)
    assert done.returncode == 0
    assert "without a stated unit" not in done.stderr
    assert "│ gap" in done.stdout


def test_an_id_used_twice_is_found_with_the_id(cli: Cli, mine: Path) -> None:
    report = mine.parent / "report.jsonl"
    done = cli("data", "check", mine, "--out", report, *FEW)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in report.read_text().splitlines()]
    assert [line["ids"] for line in lines if line["kind"] == "same id twice"] == [["a"]]
    assert not [line for line in lines if line["kind"] == "unreadable entry"]
    told = cli("data", "stats", mine, *FEW, cwd=mine.parent).stderr
    assert "left out 1 (an id that was used before); the first: " in told


def test_a_split_by_time_takes_dates_and_refuses_other_texts(cli: Cli, mine: Path) -> None:
    asked = ("data", "split", mine, "--by", "time", "--set", UNITS, *FEW)
    done = cli(*asked, "--time-column", "note", "--out", mine.parent / "note")
    assert done.returncode == 2
    assert "column 'note' is no time, as 'ok'" in done.stderr
    done = cli(*asked, "--time-column", "made", "--val", 0.4, "--out", mine.parent / "made")
    assert done.returncode == 0, done.stderr
    assert "warning: val got no crystal" in done.stderr


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("info", "files"), "give the path itself"),
        (("info", "mp_le20+"), "a part before or after a + is empty"),
        (("split", "textbook", "--val", "-1", "--out", "never"), "val -1 and test 0.1 must be"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    cli: Cli, tmp_path: Path, asked: tuple[str, ...], said: str
) -> None:
    done = cli("data", *asked, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_mixture_tells_what_to_cite_and_what_it_leaves_out(cli: Cli) -> None:
    told = json.loads(cli("data", "info", "mp_le20+jarvis", "--json").stdout)
    assert told["left_out"] == {"held out elsewhere": 29_599 + 12_497 - told["splits"]["train"]}
    assert any("Jain" in reference for reference in told["cites"])
    assert len(told["cites"]) > 2


def test_ctrl_c_is_one_line_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left, stoppable("nothing was written"):
        raise KeyboardInterrupt
    assert left.value.exit_code == 130
    assert capsys.readouterr().err == "stopped; nothing was written\n"


def test_figures_that_are_stopped_leave_no_folder_and_an_old_one_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    for text in ("old", "new"):
        with pytest.raises(KeyboardInterrupt), _filling(folder) as temporary:
            (temporary / "index.html").write_text("half")
            raise KeyboardInterrupt
        assert folder.exists() == (text == "new")
        with _filling(folder) as temporary:
            (temporary / "index.html").write_text(text)
        assert [(p.name, p.read_text()) for p in folder.iterdir()] == [("index.html", text)]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_that_may_not_be_read_is_not_one_that_cannot_be_written(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions mean nothing to root, who may run the tests.
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != mine)
    with pytest.raises(BadFile, match=r"cannot read .*mine\.extxyz: permission denied"):
        dataset_of(Catalog.load(), str(mine), [])
