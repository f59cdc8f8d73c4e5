"""Running the steps of calculations: resumed, stopped, out of time, with broken programs."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from matgen import Calculation, Crystal, Outcome, Sample, State, Step
from matgen.catalog import Catalog
from matgen.dft import running
from matgen.dft.job import Job, status
from matgen.dft.results import counted, read_results, write_results
from matgen.dft.running import Runner, taken, words
from matgen.errors import BadCrystal, BadFile, BadOptions, NewerFormat
from matgen.io.reading import read_samples

ANSWER = "import sys; print('answer', open(sys.argv[1]).read()); print('end')"
PYTHON = (sys.executable, "-c")


class Twice(Calculation):
    """Two steps: each copies its input to its output and says that it came to the end."""

    name = "twice"
    properties = ("n_sites",)

    def advance(self, crystal: Crystal, folder: Path) -> State:
        if (crystal.numbers == 54).any():
            raise BadCrystal("no pseudopotential of Xe")
        for name in ("first", "second"):
            given, out = folder / f"{name}.in", folder / f"{name}.out"
            if not given.exists():
                given.write_text(f"{name} {crystal.n_sites}")
            if not out.exists() or not out.read_text().endswith("end\n"):
                return Step(name, folder, (given.name,), out.name)
            if "unconverged" in out.read_text():
                return Outcome(error=f"{name}: unconverged")
        return Outcome(
            {"n_sites": float(crystal.n_sites)}, crystal, {"volume_ang3": crystal.volume}
        )


def crystal(n: int, number: int = 6) -> Crystal:
    frac = np.arange(n)[:, None] / n * np.ones(3)
    return Crystal(3.0 * n * np.eye(3), frac, np.full(n, number))


SAMPLES = (
    Sample(0, crystal(1)),
    Sample(1, None, error="the sampler was stuck"),
    Sample(2, crystal(2, number=54)),
    Sample(3, crystal(3)),
)


def job(folder: Path) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(folder, Twice(), SAMPLES)


def run(job: Job, *command: str, workers: int = 1, **settings: float) -> dict[int, State]:
    runner = Runner(job, command, **settings)  # type: ignore[arg-type]  # as named
    found = runner.run(workers=workers, observer=lambda *_: None)
    return {sample.index: state for sample, state in found}


def test_every_crystal_gets_a_status_and_the_rest_goes_on(tmp_path: Path) -> None:
    found = run(job(tmp_path / "all"), *PYTHON, ANSWER, workers=2)
    assert {index: status(state) for index, state in found.items()} == {
        0: "done",
        1: "failed: no crystal: the sampler was stuck",
        2: "failed: no pseudopotential of Xe",
        3: "done",
    }
    assert (tmp_path / "all" / "00003" / "second.out").read_text() == "answer second 3\nend\n"


def test_what_is_whole_is_not_run_again(tmp_path: Path) -> None:
    place = job(tmp_path / "all")
    run(place, *PYTHON, ANSWER)
    again = run(place, *PYTHON, "raise SystemExit('must not run')")
    assert status(again[0]) == status(again[3]) == "done"


def test_an_output_that_was_cut_off_is_kept_and_its_step_runs_again(tmp_path: Path) -> None:
    place = job(tmp_path / "all")
    folder = place.place(SAMPLES[0])
    folder.mkdir()
    (folder / "first.out").write_text("answer fir")
    assert status(run(place, *PYTHON, ANSWER)[0]) == "done"
    assert (folder / "first.out.1").read_text() == "answer fir"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit(3)", "first: ended with code 3"),
        ("raise SystemExit('out of disk')", "first: ended with code 1: out of disk"),
        ("import os; os.kill(os.getpid(), 9)", "first: killed by signal 9"),
        ("print('half')", "first ended without a result; see first.out"),
        ("print('unconverged'); print('end')", "first: unconverged"),
    ],
)
def test_a_program_that_fails_is_told_with_its_last_words(
    program: str, said: str, tmp_path: Path
) -> None:
    found = run(job(tmp_path / "all"), *PYTHON, program)
    assert status(found[0]) == f"failed: {said}"


def test_failed_crystals_begin_again_only_when_asked_to(tmp_path: Path) -> None:
    place = job(tmp_path / "all")
    run(place, *PYTHON, "print('unconverged'); print('end')")
    assert status(run(place, *PYTHON, ANSWER)[0]) == "failed: first: unconverged"
    assert status(run(place, *PYTHON, ANSWER, retry=True)[0]) == "done"
    kept = place.place(SAMPLES[0]) / "first.out.1"
    assert kept.read_text() == "unconverged\nend\n"


def test_a_step_out_of_time_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    begin = time.monotonic()
    found = run(job(tmp_path / "all"), *PYTHON, child, max_seconds=0.5, workers=2)
    assert status(found[0]) == "failed: first: stopped after 0.5 s"
    assert time.monotonic() - begin < 30


def test_leaving_early_ends_the_programs_that_run(tmp_path: Path) -> None:
    place = job(tmp_path / "all")
    runner = Runner(place, (*PYTHON, "import time; time.sleep(600)"))
    begun = threading.Event()

    def interrupt() -> None:
        begun.wait(30)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def look(sample: Sample, state: State) -> None:
        if sample.index == 0:
            begun.set()

    thread = threading.Thread(target=interrupt)
    thread.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(runner.run(workers=1, observer=look))
    thread.join()
    assert time.monotonic() - begin < 60
    assert isinstance(place.advance(SAMPLES[0]), Step)


def test_what_a_program_leaves_behind_for_a_moment_stops_nothing(tmp_path: Path) -> None:
    # As MPI does: a helper that inherits everything and ends a second after the program.
    helper = "import subprocess; subprocess.Popen(['sleep', '1'], close_fds=False); "
    found = run(job(tmp_path / "all"), *PYTHON, helper + ANSWER, workers=2)
    assert status(found[0]) == status(found[3]) == "done"


def test_a_program_that_outlived_its_run_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_PATIENCE_S", 0.2)
    place = job(tmp_path / "all")
    folder = place.place(SAMPLES[0])
    folder.mkdir()
    with taken(folder):
        found = run(place, *PYTHON, ANSWER)
        assert "a program of another run is at work" in status(found[0])
        assert status(found[3]) == "done"
    assert status(run(place, *PYTHON, ANSWER)[0]) == "done"


def test_a_program_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match=r"cannot run pw.y: .*--command"):
        run(job(tmp_path / "all"), "pw.y")
    with pytest.raises(BadOptions, match="--command is empty"):
        run(job(tmp_path / "all"))
    with pytest.raises(BadOptions, match="quotation"):
        words("mpirun 'pw.x")
    assert words("mpirun -np 4 'my pw.x'") == ("mpirun", "-np", "4", "my pw.x")


def test_results_keep_every_crystal_and_what_it_became(tmp_path: Path) -> None:
    place = job(tmp_path / "all")
    run(place, *PYTHON, ANSWER)
    results = read_results(place)
    assert counted(results) == {"done": 2, "failed": 2}
    _, table, crystals = write_results(place, results)
    lines = table.read_text().splitlines()
    assert lines[0] == "index,formula,status,n_sites,volume_ang3"
    assert lines[3] == "2,Xe,failed: no pseudopotential of Xe,,"
    samples, asked = read_samples(crystals)
    assert (len(samples), asked) == (3, 4)
    assert samples[-1].achieved == {"n_sites": 3.0}


def test_a_folder_holds_one_calculation_of_one_set_of_crystals(tmp_path: Path) -> None:
    catalog = Catalog.load()
    vasp = catalog.build("calculation", "vasp")
    other = catalog.build("calculation", "vasp", {"incar": {"EDIFF": 1e-6}})
    assert isinstance(vasp, Calculation)
    assert isinstance(other, Calculation)
    made = Job.create(tmp_path / "a", vasp, SAMPLES, source="x", catalog=catalog)
    assert made.samples[1].error == "the sampler was stuck"
    assert Job.create(tmp_path / "a", vasp, SAMPLES, source="x", catalog=catalog).folder
    for calculation, source in ((other, "x"), (vasp, "y")):
        with pytest.raises(BadOptions, match="another calculation or other crystals"):
            Job.create(tmp_path / "a", calculation, SAMPLES, source=source, catalog=catalog)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "precious").write_text("data")
    with pytest.raises(BadOptions, match="not empty"):
        Job.create(tmp_path / "b", vasp, SAMPLES, source="x", catalog=catalog)
    with pytest.raises(BadFile, match="holds no calculations"):
        Job.load(tmp_path / "b", catalog)
    about = tmp_path / "a" / "calculations.json"
    about.write_text(about.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(NewerFormat, match="newer matgen"):
        Job.load(tmp_path / "a", catalog)
