"""``matgen data fetch`` from a server on this machine, and training on what it got."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import served_data
from tests.cli.conftest import Cli
from tests.local_server import Answer, Asked, Server, serving

SET_OPTIMADE = 'dataset.properties={_demo_band_gap="band_gap:eV"}'


@pytest.fixture
def provider() -> Iterator[Server]:
    """An OPTIMADE provider of 60 real crystals, seven at a time."""
    entries = [served_data.optimade_entry(r) for r in served_data.records()]
    with serving(served_data.optimade_handler(entries, 7)) as server:
        yield server


@pytest.mark.slow
def test_what_is_fetched_can_be_trained_on_by_name(
    cli: Cli, provider: Server, tmp_path: Path
) -> None:
    chosen = ("--set", f"dataset.base_url={provider.url}", "--set", SET_OPTIMADE)
    done = cli("data", "fetch", "optimade", *chosen)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert len((folder / "structures.jsonl").read_text().splitlines()) == 60
    run = tmp_path / "run"
    done = cli(
        "train", "--dataset", "optimade", *chosen, "--preset", "tiny", "--cond", "density",
        "--cond", "band_gap", "--max-steps", 2, "--out", run,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    saved = json.loads((run / "run.json").read_text())
    assert saved["dataset"]["settings"]["path"] == ""
    assert str(folder) not in (run / "run.json").read_text()
    done = cli("train", "--resume", run, "--max-steps", 3)
    assert done.returncode == 0, done.stderr


def test_a_dataset_that_was_not_fetched_names_the_command_that_gets_it(
    cli: Cli, tmp_path: Path
) -> None:
    done = cli("data", "prepare", "--dataset", "mp_20", "--out", tmp_path / "stores")
    assert done.returncode == 2
    assert "mp_20 is not on this machine; get it with: matgen data fetch mp_20" in done.stderr


def test_a_folder_of_ones_own_is_used_with_a_setting(cli: Cli, tmp_path: Path) -> None:
    folder = served_data.fetched_folder("mp_20", tmp_path / "copy")
    stores = tmp_path / "stores"
    done = cli(
        "data", "prepare", "--dataset", "mp_20", "--set", f"dataset.path={folder}",
        "--cond", "energy_above_hull", "--out", stores,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "train: 40 crystals" in done.stderr


def test_json_tells_the_folder_the_files_and_the_fingerprint(
    cli: Cli, provider: Server, tmp_path: Path
) -> None:
    out = tmp_path / "here"
    done = cli(
        "data", "fetch", "optimade", "--set", f"dataset.base_url={provider.url}", "--out", out,
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["folder"] == str(out)
    assert told["files"] == {"structures.jsonl": (out / "structures.jsonl").stat().st_size}
    assert told["fingerprint"].startswith("optimade-")


def test_a_dataset_that_comes_with_matgen_needs_no_fetch(cli: Cli) -> None:
    done = cli("data", "fetch", "mp_le20")
    assert done.returncode == 2
    assert "needs no download" in done.stderr


def test_a_provider_that_is_not_there_is_one_line(cli: Cli, tmp_path: Path) -> None:
    with serving(lambda _: Answer(status=404)) as server:
        done = cli(
            "data", "fetch", "optimade", "--set", f"dataset.base_url={server.url}",
            "--out", tmp_path,
        )  # fmt: skip
    assert done.returncode == 2
    assert "status 404" in done.stderr.splitlines()[-1]


def test_an_interrupt_keeps_what_arrived_and_says_so_in_one_line(
    provider: Server, tmp_path: Path
) -> None:
    answered = threading.Event()
    release = threading.Event()
    whole = provider.handler

    def stall(asked: Asked) -> Answer:
        if "page_offset=21" in asked.path and not release.is_set():
            answered.set()
            release.wait(60)
        return whole(asked)

    provider.handler = stall
    out = tmp_path / "parts"
    command = [
        sys.executable, "-m", "matgen", "data", "fetch", "optimade",
        "--set", f"dataset.base_url={provider.url}", "--out", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "HOME": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert answered.wait(60)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        release.set()
    assert process.returncode == 130
    assert "the same command goes on from there" in told
    assert "Traceback" not in told
    assert len((out / "structures.jsonl.part").read_text().splitlines()) == 21
    n_before = len(provider.asked)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "page_offset=21" in provider.asked[n_before].path
    assert len((out / "structures.jsonl").read_text().splitlines()) == 60
