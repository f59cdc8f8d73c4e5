"""Samples in shards survive the death of workers and of the driver, exactly."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from matgen.atomic import write_tensors
from matgen.io.shard_manifest import ShardManifest
from tests.faults.conftest import DEADLINE_S
from tests.faults.shard_driver import N_SHARDS
from tests.unit.generation.toy_model import toy_model

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_tensors(path, toy_model().state_dict())
    return path


def begin(
    weights: Path, folder: Path, *, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.shard_driver", str(weights), str(folder)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,  # noqa: PLW1509 - no threads here yet
        env={"HOME": str(folder.parent), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )


def end(process: subprocess.Popen[str]) -> str:
    told = process.communicate(timeout=DEADLINE_S)[1]
    assert process.returncode == 0, told
    return told


@pytest.fixture(scope="module")
def whole_folder(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "shards"
    end(begin(weights, folder))
    return folder


@pytest.fixture
def whole(whole_folder: Path) -> ShardManifest:
    return known(whole_folder)


def known(folder: Path) -> ShardManifest:
    manifest = ShardManifest.read(folder)
    assert manifest is not None
    return manifest


def wait_for(process: subprocess.Popen[str], folder: Path, n_shards: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(list(folder.glob("shard-*"))) < n_shards:
        assert process.poll() is None, "the run was over before it was killed"
        assert time.monotonic() < deadline


def workers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def assert_same(folder: Path, whole: ShardManifest) -> None:
    """Every index once, and the very bytes of the run that nobody disturbed."""
    manifest = known(folder)
    files = [manifest.path_of(number, folder) for number in range(N_SHARDS)]
    indices = [i for file in files for i in pq.read_table(file)["index"].to_pylist()]
    assert indices == list(range(manifest.asked))
    digests = {number: shard.sha256 for number, shard in whole.shards.items()}
    assert {number: shard.sha256 for number, shard in manifest.shards.items()} == digests
    assert manifest.unique == whole.unique
    assert list(folder.glob(".*")) == []


def test_killed_workers_cost_nothing_but_time(
    weights: Path, whole: ShardManifest, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    process = begin(weights, folder)
    for n_shards in sorted(random.sample(range(1, N_SHARDS // 2), 2)):
        wait_for(process, folder, n_shards)
        os.kill(random.choice(workers_of(process.pid)), signal.SIGKILL)
    assert "a worker died" in end(process)
    assert_same(folder, whole)


def test_a_killed_driver_leaves_no_worker_and_goes_on_where_it_was(
    weights: Path, whole: ShardManifest, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    process = begin(weights, folder)
    wait_for(process, folder, random.randint(2, N_SHARDS // 2))
    orphans = workers_of(process.pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + DEADLINE_S
    while any(Path(f"/proc/{pid}").exists() for pid in orphans):
        assert time.monotonic() < deadline, "workers outlived their driver"
        time.sleep(0.05)
    kept = set(known(folder).shards)
    times = {n: known(folder).path_of(n, folder).stat().st_mtime_ns for n in kept}
    end(begin(weights, folder))
    assert {n: known(folder).path_of(n, folder).stat().st_mtime_ns for n in kept} == times
    assert_same(folder, whole)


def test_ctrl_c_leaves_no_worker_and_what_was_finished(
    weights: Path, whole: ShardManifest, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    # A terminal sends Ctrl-C to the whole group.
    process = begin(weights, folder, before=os.setsid)
    wait_for(process, folder, random.randint(2, N_SHARDS // 2))
    workers = workers_of(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode != 0
    deadline = time.monotonic() + DEADLINE_S
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "workers outlived their driver"
        time.sleep(0.05)
    assert known(folder).shards
    end(begin(weights, folder))
    assert_same(folder, whole)


def test_a_disk_that_takes_no_more_costs_no_shard_that_was_finished(
    weights: Path, whole: ShardManifest, whole_folder: Path, tmp_path: Path
) -> None:
    """No file may grow beyond what the smallest shard needs: some are written, some are refused."""
    sizes = sorted(path.stat().st_size for path in whole_folder.glob("shard-*"))
    folder = tmp_path / "shards"
    process = begin(weights, folder, before=lambda: limit_files(sizes[len(sizes) // 2]))
    told = process.communicate(timeout=DEADLINE_S)[1]
    assert process.returncode != 0
    assert "File too large" in told
    assert list(folder.glob("shard-*.parquet.*")) == []
    end(begin(weights, folder))
    assert_same(folder, whole)


def limit_files(n_bytes: int) -> None:
    """Let no file of this process and its children grow beyond so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
