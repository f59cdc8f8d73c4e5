"""A relaxer in another environment finds what it finds here; whatever the process does is told."""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matgen.catalog import Catalog
from matgen.elsewhere import Place, WorkerSession
from matgen.errors import BadOptions, MissingDependency, UnknownName
from matgen.evaluation.relaxation_log import RelaxationKeys
from matgen.records import Crystal, Relaxation
from matgen.roles.relaxer import Relaxer
from tests.unit.elsewhere.conftest import Impostor


def spheres(python: str = "", **settings: Any) -> Relaxer:
    relaxer = Catalog.load().build("relaxer", "toy:spheres", settings)
    assert isinstance(relaxer, Relaxer)
    return relaxer.placed(Place("toy:spheres", python, "my file")) if python else relaxer


def copper(length: float = 3.7, shift: float = 0.0) -> Crystal:
    frac = np.array([[shift, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Crystal(np.eye(3) * length, frac, np.full(4, 29), np.full(4, 1))


CELLS = [copper(), copper(3.5), copper(4.4, 0.01)]
REFUSED = Crystal(np.full((3, 3), np.nan), np.zeros((1, 3)), np.array([29]))


def relaxed(relaxer: Relaxer, crystals: list[Crystal], **session: Any) -> list[Relaxation]:
    return list(relaxer.session("cpu", **session).relax(crystals))


def identical(one: Relaxation, other: Relaxation) -> bool:
    if one.crystal is None or other.crystal is None:
        return (one.crystal, one.error) == (other.crystal, other.error)
    return (
        np.array_equal(one.crystal.lattice, other.crystal.lattice)
        and np.array_equal(one.crystal.frac, other.crystal.frac)
        and one.crystal.numbers.tolist() == other.crystal.numbers.tolist()
        and (one.energy, one.initial_energy) == (other.energy, other.initial_energy)
        and (one.converged, one.n_steps) == (other.converged, other.n_steps)
    )


def test_another_environment_finds_the_same_bit_for_bit(other_python: str) -> None:
    given = [*CELLS, REFUSED]
    here, there = relaxed(spheres(), given), relaxed(spheres(other_python), given)
    assert [r.crystal is None for r in here] == [False, False, False, True]
    assert all(identical(one, other) for one, other in zip(here, there, strict=True))


def test_keys_are_those_of_this_environment_and_it_can_be_pickled(other_python: str) -> None:
    placed = pickle.loads(pickle.dumps(spheres(other_python)))
    keys = RelaxationKeys(placed, "cpu"), RelaxationKeys(spheres(), "cpu")
    assert keys[0].of(CELLS[0]) == keys[1].of(CELLS[0])
    assert placed.model_dump() == spheres().model_dump()
    assert identical(relaxed(placed, CELLS[:1])[0], relaxed(spheres(), CELLS[:1])[0])


def test_a_killed_process_costs_no_crystal(
    other_python: str, caplog: pytest.LogCaptureFixture
) -> None:
    session = spheres(other_python).session("cpu")
    assert isinstance(session, WorkerSession)
    assert session._worker is not None
    found = session.relax(CELLS)
    first = next(found)
    os.kill(session._worker._process.pid, signal.SIGKILL)
    here = relaxed(spheres(), CELLS)
    for one, other in zip(here, [first, *found], strict=True):
        assert identical(one, other)
    assert "killed by signal 9" in caplog.text


DIES = """
say(HELLO); hear(); say({"opened": True})
while True:
    hear()
    print("the network is on fire", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_crystal_that_kills_twice_is_a_failure_with_a_reason(impostor: Impostor) -> None:
    session = spheres(impostor(DIES)).session("cpu")
    first, second = session.relax(CELLS[:2])
    assert first.crystal is None
    assert "died twice" in first.error
    assert "killed by signal 9: the network is on fire" in first.error
    assert "died twice" in second.error


def test_a_step_that_hangs_is_given_up_at_the_hard_limit(impostor: Impostor) -> None:
    hangs = 'say(HELLO); hear(); say({"opened": True}); hear(); time.sleep(1000)'
    relaxer = spheres()
    place = Place("toy:spheres", impostor(hangs))
    session = WorkerSession(relaxer, place, "cpu", hard_limit_seconds=0.2)
    started = time.monotonic()
    first, second = session.relax(CELLS[:2])
    assert "took no end" in first.error
    assert "took no end" in second.error
    assert time.monotonic() - started < 30.0


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("sys.exit('no module named matgen')", "no module named matgen.*install matgen"),
        ("for _ in range(999): print('hello')", "no worker of matgen"),
        (
            'HELLO["hello"]["protocol"] = 2; say(HELLO); hear()',
            "speaks protocol 2 .* here 1; install the same release",
        ),
        ('say({"hello": {"matgen": "0.0.1"}}); hear()', "speaks protocol None"),
    ],
)
def test_a_program_that_is_no_worker_of_ours_is_told_of(
    impostor: Impostor, code: str, says: str
) -> None:
    with pytest.raises(BadOptions, match=f"my file: .*{says}"):
        spheres(impostor(code)).session("cpu")


def test_chatter_before_the_greeting_is_passed_over(impostor: Impostor) -> None:
    code = 'print("(base) activated"); say({"not": "it"}); say(HELLO); hear(); say({"opened": 1})'
    session = spheres(impostor(f"{code}; hear()")).session("cpu")
    assert isinstance(session, WorkerSession)
    session.close()


@pytest.mark.parametrize("answer", ['print("0.7 eV", flush=True)', 'say({"relaxation": {}})'])
def test_an_answer_that_is_none_is_a_failure(impostor: Impostor, answer: str) -> None:
    code = f'say(HELLO); hear(); say({{"opened": True}}); hear(); {answer}; hear()'
    (found,) = spheres(impostor(code)).session("cpu").relax(CELLS[:1])
    assert found.crystal is None
    assert "answer" in found.error


def test_errors_come_back_as_what_they_are(impostor: Impostor) -> None:
    error = {"error": {"kind": "MissingDependency", "text": "put the weights in ~/here"}}
    python = impostor(f"say(HELLO); hear(); say({error}); hear()")
    with pytest.raises(MissingDependency, match=f"put the weights in ~/here.*{python}"):
        spheres(python).session("cpu")


@pytest.mark.skipif(importlib.util.find_spec("mace") is not None, reason="mace-torch is installed")
def test_a_potential_that_is_not_there_either_says_so(other_python: str) -> None:
    relaxer = Catalog.load().build("relaxer", "relaxers:mace")
    assert isinstance(relaxer, Relaxer)
    with pytest.raises(MissingDependency, match=r"pip install matgen\[mace\].*other/bin/python"):
        relaxer.placed(Place("relaxers:mace", other_python)).session("cpu")


def test_a_batch_whose_process_dies_goes_on_as_halves(impostor: Impostor) -> None:
    # Dies of the crystal with a lattice constant of 9 Å, and answers at what came before it.
    code = """
say(HELLO); hear(); say({"opened": True})
while True:
    for crystal in hear()["crystals"]:
        if crystal["lattice"][0][0] == 9.0:
            os.kill(os.getpid(), signal.SIGKILL)
        say({"relaxation": {"crystal": crystal, "energy": -1.0, "initial_energy": -1.0,
             "converged": True, "n_steps": 0, "seconds": 0.0, "error": ""}})
"""
    relaxer = Catalog.load().build("relaxer", "relaxers:sevennet", {"batched": "yes"})
    assert isinstance(relaxer, Relaxer)
    session = relaxer.placed(Place("relaxers:sevennet", impostor(code))).session("cpu")
    given = [copper(length) for length in (4.0, 4.1, 9.0, 4.2, 4.3)]
    found = list(session.relax(given))
    assert [r.crystal is None for r in found] == [False, False, True, False, False]
    assert "died twice" in found[2].error
    assert [r.crystal.lattice[0, 0] for r in found if r.crystal] == [4.0, 4.1, 4.2, 4.3]


def registry(tmp_path: Path, key: str, python: str) -> Path:
    path = tmp_path / "registry.toml"
    path.write_text(f"[elsewhere.{key!r}]\npython = {python!r}\n".replace("'", '"'))
    return path


@pytest.mark.parametrize(
    ("key", "python", "says"),
    [
        ("toy:spheres", "/nowhere/bin/python", "python = /nowhere/bin/python is no program"),
        ("toy:sferes", sys.executable, "did you mean 'spheres'"),
        ("spheres", "bin/python", "write the whole path"),
    ],
)
def test_what_cannot_be_is_refused_when_the_relaxer_is_chosen(
    tmp_path: Path, key: str, python: str, says: str
) -> None:
    file = registry(tmp_path, key, python)
    with pytest.raises((BadOptions, UnknownName), match=rf"registry.toml.*elsewhere.*{says}"):
        Catalog.load(file).build("relaxer", "spheres")


def test_the_bare_name_will_do_and_others_stay_here(tmp_path: Path) -> None:
    catalog = Catalog.load(registry(tmp_path, "spheres", sys.executable))
    placed, other = (catalog.build("relaxer", name) for name in ("spheres", "chgnet"))
    assert placed._place.python == sys.executable  # type: ignore[attr-defined] # a relaxer's
    assert other._place.python == ""  # type: ignore[attr-defined] # a relaxer's


def test_the_shipped_file_may_start_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = registry(tmp_path, "spheres", sys.executable)
    monkeypatch.setattr("matgen.choices.shipped_file", lambda: file)
    monkeypatch.setattr("matgen.catalog.shipped_file", lambda: file)
    with pytest.raises(BadOptions, match=r"only in your own registry\.toml"):
        Catalog.load()


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[str]]:
    """A worker on its own, as ``python -m matgen.worker``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "matgen.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def test_nonsense_is_answered_by_an_error_and_the_end_of_stdin_is_the_end(
    worker: subprocess.Popen[str],
) -> None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert '"protocol": 1' in worker.stdout.readline()
    for request, says in (
        ("nonsense", "JSONDecodeError"),
        ('{"do": "relax", "crystals": []}', "nothing is open"),
        ('{"do": "dance"}', "cannot 'dance'"),
    ):
        worker.stdin.write(request + "\n")
        worker.stdin.flush()
        assert says in worker.stdout.readline()
    worker.stdin.close()
    assert worker.wait(30) == 0


PARENT = """
import sys, time
from pathlib import Path
from matgen.catalog import Catalog
relaxer = Catalog.load().build("relaxer", "toy:spheres")
session = relaxer.session("cpu", apart=True)
print(session._worker._process.pid, flush=True)
time.sleep(1000)
"""


def test_a_worker_ends_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert running(pid)
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 30.0
    while running(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
