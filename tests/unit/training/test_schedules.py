from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matgen.training.schedules import rate_factor
from matgen.training.settings import TrainingSettings
from tests.unit.training.runs import Watcher, run

SCHEDULES = ("plateau", "linear", "cosine", "wsd")
SHARE = st.floats(0.0, 1.0)


def factor(schedule: str, over: float, **changes: float) -> float:
    chosen = TrainingSettings.model_validate({"schedule": schedule, "warmup_steps": 0, **changes})
    return rate_factor(chosen, step=10, over=over)


@given(st.sampled_from(SCHEDULES), SHARE, SHARE, st.floats(0.0, 1.0), st.floats(0.01, 1.0))
def test_after_the_warm_up_a_rate_only_falls_and_ends_where_it_should(
    schedule: str, one: float, other: float, final: float, decay: float
) -> None:
    early, late = sorted((one, other))
    changes = {"final_rate": final, "decay_share": decay}
    first, second = (factor(schedule, over, **changes) for over in (early, late))
    assert 1.0 >= first >= second - 1e-12 >= final - 2e-12 or schedule == "plateau"
    end = factor(schedule, 1.0, **changes)
    assert end == pytest.approx(1.0 if schedule == "plateau" else final, abs=1e-12)


def test_the_schedules_are_those_of_their_papers() -> None:
    assert factor("linear", 0.25) == pytest.approx(0.75)
    assert factor("cosine", 0.25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert factor("wsd", 0.8, decay_share=0.2) == pytest.approx(1.0)
    assert factor("wsd", 0.9, decay_share=0.2) == pytest.approx(0.5)
    assert factor("wsd", 0.9, decay_share=0.2, final_rate=0.1) == pytest.approx(0.55)


def test_the_warm_up_rises_evenly_from_the_first_step() -> None:
    chosen = TrainingSettings(warmup_steps=4)
    rates = [rate_factor(chosen, step=step, over=0.0) for step in range(6)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
def test_a_run_ends_at_its_final_rate_whatever_ends_it(
    tmp_path: Path, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock by which every step takes ten milliseconds.
    ticks = SimpleNamespace(monotonic=itertools.count(0.0, 0.01).__next__)
    monkeypatch.setattr("matgen.training.pace.time", ticks)
    for name, limit in (("steps", {"max_steps": 14}), ("time", {"max_minutes": 0.01})):
        watcher = Watcher()
        epochs = 10_000 if name == "time" else 3
        run(
            tmp_path / name, watcher, schedule=schedule, warmup_steps=0, epochs=epochs,
            learning_rate=1e-3, validate_every=0, **limit,
        )  # fmt: skip
        rates = [progress.learning_rate for progress in watcher.steps]
        assert rates[0] == pytest.approx(1e-3, rel=0.05)
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] < 0.5e-3 if name == "steps" else rates[-1] < 0.1e-3
