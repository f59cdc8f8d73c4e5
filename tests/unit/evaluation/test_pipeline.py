"""An evaluation relaxes once, resumes, orders its evaluators and writes whole reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from ase.io import read
from hypothesis import given
from hypothesis import strategies as st

from matgen.errors import BadFile, BadOptions, PluginProblem
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.intervals import bootstrap, wilson
from matgen.evaluation.pipeline import EvaluationPlan, evaluate, in_order
from matgen.evaluation.reference import Reference
from matgen.evaluation.relaxation_log import RelaxationLog
from matgen.records import Crystal, Measurement, Relaxation, Sample
from matgen.roles.evaluator import Evaluator, Need
from matgen.roles.hull import Hull, HullReference
from matgen.roles.relaxer import Relaxer, RelaxerSession
from matgen_executors.local import LocalExecutor
from matgen_executors.processes import ProcessExecutor
from matgen_metrics import matgen_evaluators

PAIR = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])


class _Session(RelaxerSession):
    def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        for crystal in crystals:
            _Still.seen.append(crystal.volume)
            if crystal.volume > 200:
                yield Relaxation(None, error="too large for this toy")
            else:
                yield Relaxation(crystal, -crystal.volume, 0.0, converged=True, n_steps=1)


class _Still(Relaxer):
    """Moves nothing; the energy is the volume."""

    name = "still"
    energy_scale = "toy"
    seen: ClassVar[list[float]] = []

    def open(self, device: str) -> RelaxerSession:
        return _Session()


class _Zero(Hull):
    def distance(self, crystal: Crystal, energy: float) -> float:
        return 0.0


class _ToyHull(HullReference):
    """Everything is on it."""

    name = "zero"
    energy_scale = "toy"

    def open(self, relaxer: Relaxer) -> Hull:
        return _Zero()


class _OtherHull(_ToyHull):
    """On another scale."""

    energy_scale = "other"


class _First(Evaluator):
    """Reads what the last found."""

    name = "first"
    after = ("last",)

    def measure(self, cohort: Cohort) -> Measurement:
        return Measurement(cohort.asked, summary={"found": cohort.done["last"].summary["found"]})


class _Last(Evaluator):
    """Finds one."""

    name = "last"

    def measure(self, cohort: Cohort) -> Measurement:
        return Measurement(cohort.asked, summary={"found": 1.0})


class _Circular(Evaluator):
    """Waits for itself by way of another."""

    name = "last"
    after = ("first",)

    def measure(self, cohort: Cohort) -> Measurement:
        return Measurement(cohort.asked)


class _Broken(Evaluator):
    """Has a bug."""

    name = "broken"
    needs = frozenset({Need.REFERENCE})

    def measure(self, cohort: Cohort) -> Measurement:
        raise ZeroDivisionError


def _samples() -> list[Sample]:
    crystals = [
        Crystal(np.eye(3) * length, PAIR, np.array([55, 17])) for length in (4.0, 4.1, 4.0, 7.0)
    ]
    return [*(Sample(i, c) for i, c in enumerate(crystals)), Sample(4, None, error="unfinished")]


def _plan(**changes: object) -> EvaluationPlan:
    settings: dict[str, object] = {
        "evaluators": tuple(cls() for cls in matgen_evaluators()),
        "executor": LocalExecutor(),
        "relaxer": _Still(),
        "hull": _ToyHull(),
        "reference": Reference([]),
        **changes,
    }
    return EvaluationPlan(**settings)  # type: ignore[arg-type]  # the fields above


def test_equal_crystals_are_relaxed_once_and_none_again_on_resume(tmp_path: Path) -> None:
    _Still.seen.clear()
    first = evaluate(_plan(), _samples(), 6, tmp_path)
    assert len(_Still.seen) == 3
    again = evaluate(_plan(), _samples(), 6, tmp_path)
    assert len(_Still.seen) == 3
    assert again.to_json() == first.to_json()
    evaluate(_plan(relaxer=_Still(max_steps=7)), _samples(), 6, tmp_path)
    assert len(_Still.seen) == 6


def test_a_line_cut_off_by_a_crash_is_relaxed_anew(tmp_path: Path) -> None:
    evaluate(_plan(), _samples(), 6, tmp_path)
    log = tmp_path / "relaxations.jsonl"
    log.write_text(log.read_text()[:-40])
    _Still.seen.clear()
    evaluate(_plan(), _samples(), 6, tmp_path)
    assert len(_Still.seen) == 1
    assert len(RelaxationLog(log).known) == 3


def test_a_damaged_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"key": 1}\n{"key": 2}\n')
    with pytest.raises(BadFile, match="line 1"):
        RelaxationLog(tmp_path / "log")


def test_the_report_counts_and_files_agree(tmp_path: Path) -> None:
    report = evaluate(_plan(), _samples(), 6, tmp_path)
    saved = json.loads((tmp_path / "report.json").read_text())
    assert (saved["asked"], saved["sampled"], saved["with_crystal"], saved["relaxed"]) == (
        6,
        5,
        4,
        3,
    )
    assert saved["measurements"]["sun"]["summary"]["sun"]["value"] == 1 / 6
    low, high = saved["measurements"]["sun"]["summary"]["sun"]["interval_95"]
    assert low < 1 / 6 < high
    table = pq.read_table(tmp_path / "samples.parquet")
    assert table.num_rows == 6
    assert table.column("unique").to_pylist() == [True, False, False, None, None, None]
    assert table.column_names == pa_csv.read_csv(tmp_path / "samples.csv").column_names
    frames = read(tmp_path / "relaxed.extxyz", index=":")
    assert [frame.info["index"] for frame in frames] == [0, 1, 2]
    assert "| sun | sun |" in (tmp_path / "report.md").read_text()
    assert all(len(row) == 4 for row in report.rows())


@pytest.mark.slow
def test_processes_find_what_one_process_finds() -> None:
    alone = evaluate(_plan(), _samples(), 6, None)
    spread = evaluate(_plan(executor=ProcessExecutor(n_workers=1)), _samples(), 6, None)
    assert spread.to_json() == alone.to_json()


def test_progress_reaches_its_end() -> None:
    heard: list[tuple[str, int, int]] = []
    evaluate(_plan(), _samples(), 6, None, observer=lambda *news: heard.append(news))
    assert ("relaxation", 3, 3) in heard
    n_evaluators = len(matgen_evaluators())
    assert heard[-1] == ("evaluators", n_evaluators, n_evaluators)


def test_without_relaxer_the_rest_is_still_measured() -> None:
    report = evaluate(_plan(relaxer=None, hull=None), _samples(), 5, None)
    assert report.measurements["stability"].skipped == "needs relaxed and hull"
    assert report.measurements["uniqueness"].notes["geometry"] == "as sampled"
    # The large one differs from the others by its volume alone, which the matcher scales away.
    assert report.measurements["uniqueness"].summary["unique"] == 1 / 5


def test_evaluators_run_after_those_they_read_and_keep_their_place() -> None:
    report = evaluate(_plan(evaluators=(_First(), _Last())), [], 0, None)
    assert list(report.measurements) == ["first", "last"]
    assert report.measurements["first"].summary["found"] == 1.0
    with pytest.raises(PluginProblem, match="wait for each other"):
        in_order([_First(), _Circular()])


def test_a_bug_in_an_evaluator_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        evaluate(_plan(evaluators=(_Broken(),)), _samples(), 5, None)


def test_energies_and_hulls_of_different_scales_are_refused() -> None:
    with pytest.raises(BadOptions, match="scale"):
        _plan(hull=_OtherHull())


def test_more_samples_than_asked_for_are_refused() -> None:
    with pytest.raises(BadOptions, match="5 samples for 4"):
        evaluate(_plan(), _samples(), 4, None)


def test_wilson_gives_the_textbooks_interval() -> None:
    # Newcombe, Statistics in Medicine 17, 857 (1998), table I: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@given(st.integers(1, 5000), st.data())
def test_an_interval_holds_its_rate(asked: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, asked))
    low, high = wilson(successes, asked)
    assert 0.0 <= low <= successes / asked <= high <= 1.0


def test_a_bootstrap_interval_is_the_same_every_time_and_narrows() -> None:
    values = list(np.random.default_rng(1).normal(size=400))
    whole = bootstrap(values, "mean")
    assert whole == bootstrap(values, "mean")
    part = bootstrap(values[:40], "mean")
    assert whole is not None
    assert part is not None
    assert whole[1] - whole[0] < part[1] - part[0]
    assert bootstrap([1.0], "median") is None
