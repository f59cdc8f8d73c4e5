"""How far to trust stability figures stands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from matgen.evaluation.cohort import Cohort
from matgen.records import Crystal, Measurement, Relaxation, Sample
from matgen.roles.hull import Calibration, Hull, StableCalls
from matgen_executors.local import LocalExecutor
from matgen_metrics.stability import Stability

CALIBRATION = Calibration(
    crystals="those of a textbook",
    n=10,
    bias_ev_per_atom=-0.03,
    mae_ev_per_atom=0.04,
    stable=(StableCalls(0.0, 4, 5, 3), StableCalls(0.1, 0, 0, 0)),
)


class _Hull(Hull):
    def __init__(self, calibration: Calibration | None) -> None:
        self._calibration = calibration

    def distance(self, crystal: Crystal, energy: float) -> float:
        return energy / crystal.n_sites

    def calibration(self) -> Calibration | None:
        return self._calibration


def _measured(calibration: Calibration | None) -> Measurement:
    crystal = Crystal(np.eye(3) * 3, np.zeros((1, 3)), np.array([3]))
    with LocalExecutor().open() as pool:
        return Stability().measure(
            Cohort(
                [Sample(0, crystal)], 1, pool,
                relaxations=[Relaxation(crystal, energy=0.02)], hull=_Hull(calibration),
            )
        )  # fmt: skip


def test_bias_error_precision_and_recall_are_figures_of_their_own_unit() -> None:
    found = _measured(CALIBRATION)
    assert found.summary["calibration_bias"] == -0.03
    assert found.summary["calibration_precision_at_0"] == pytest.approx(3 / 5)
    assert found.summary["calibration_recall_at_0"] == pytest.approx(3 / 4)
    assert found.units["calibration_recall_at_0"] == "of calibration"
    assert "4 stable by DFT, 5 called stable, 3 both" in str(found.notes["calibration"])


def test_a_rate_of_nothing_is_no_rate() -> None:
    found = _measured(CALIBRATION)
    assert found.summary["calibration_precision_at_0.1"] is None
    assert found.summary["calibration_recall_at_0.1"] is None


def test_without_a_calibration_it_says_so() -> None:
    found = _measured(None)
    assert str(found.notes["calibration"]).startswith("no calibration known")
    assert not [name for name in found.summary if name.startswith("calibration")]


def test_a_hull_that_knows_no_phases_gives_no_own_distances() -> None:
    assert _measured(None).per_sample["energy_above_own_hull"] == [None]
