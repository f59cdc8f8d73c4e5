"""Every evaluator survives any cohort, divides by what was asked for, and measures what it says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from matgen.errors import OutsideHull
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.pipeline import in_order
from matgen.evaluation.reference import Reference
from matgen.records import Crystal, Measurement, PropertyValue, Relaxation, Sample
from matgen.roles.condition import Condition, ScalarCondition
from matgen.roles.evaluator import Evaluator
from matgen.roles.hull import Hull
from matgen_executors.local import LocalPool
from matgen_metrics import matgen_evaluators
from matgen_metrics.achieved import Conditions
from matgen_metrics.displacement import MatchRate
from matgen_metrics.novelty import Novelty
from matgen_metrics.relaxation import RelaxationSummary
from matgen_metrics.spglib_groups import space_group
from matgen_metrics.stability import Stability
from matgen_metrics.sun import Sun
from matgen_metrics.uniqueness import Uniqueness
from matgen_metrics.validity import Validity

CSCL = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
EVALUATORS = matgen_evaluators()


def _cscl(length: float = 4.1, numbers: tuple[int, int] = (55, 17)) -> Crystal:
    return Crystal(np.eye(3) * length, CSCL, np.array(numbers))


class _FixedHull(Hull):
    """Energy per atom as it stands; caesium is unknown."""

    def distance(self, crystal: Crystal, energy: float) -> float:
        if 55 in crystal.numbers:
            raise OutsideHull("Cs: no elemental reference energy is fitted")
        return energy / crystal.n_sites


def _cohort(
    crystals: Sequence[Crystal | None], asked: int, *, energies: Sequence[float] | None = None
) -> Cohort:
    samples = [Sample(i, c, error="" if c else "unfinished") for i, c in enumerate(crystals)]
    relaxations = [
        Relaxation(c, energy=e, initial_energy=e + 1.0, converged=True, n_steps=3)
        if c is not None
        else Relaxation(None, error="no crystal")
        for c, e in zip(crystals, energies or [0.0] * len(crystals), strict=True)
    ]
    return Cohort(
        samples,
        asked,
        LocalPool(),
        relaxations=relaxations,
        hull=_FixedHull(),
        reference=Reference([_cscl(4.0, (19, 35))]),
    )


def _run_all(cohort: Cohort) -> dict[str, Measurement]:
    done: dict[str, Measurement] = {}
    for evaluator in in_order([cls() for cls in EVALUATORS]):
        done[evaluator.name] = evaluator.measure(Cohort(**{**vars(cohort), "done": dict(done)}))
    return done


_BROKEN = [
    None,
    Crystal(np.full((3, 3), np.nan), CSCL, np.array([55, 17])),
    Crystal(np.zeros((3, 3)), CSCL, np.array([55, 17])),
    Crystal(np.eye(3) * 4, np.zeros((2, 3)), np.array([55, 17])),
    _cscl(4.0, (118, 61)),
]


@pytest.mark.parametrize(
    "crystals", [[], [None, None], _BROKEN], ids=["empty", "all failed", "broken"]
)
def test_every_evaluator_survives_and_fills_its_columns(crystals: list[Crystal | None]) -> None:
    for measurement in _run_all(_cohort(crystals, len(crystals) + 2)).values():
        assert measurement.asked == len(crystals) + 2
        assert all(len(column) == measurement.asked for column in measurement.per_sample.values())


@pytest.mark.parametrize("cls", EVALUATORS, ids=lambda cls: cls.name)
def test_every_evaluator_survives_nothing_asked_for(cls: type[Evaluator]) -> None:
    assert cls().measure(_cohort([], 0)).asked == 0


@pytest.mark.parametrize("cls", [Novelty, RelaxationSummary, MatchRate, Stability, Sun])
def test_an_unmet_need_is_a_row_that_says_so(cls: type[Evaluator]) -> None:
    bare = Cohort([Sample(0, _cscl())], 1, LocalPool())
    assert "needs" in cls().measure(bare).skipped


def test_rates_divide_by_what_was_asked_for() -> None:
    cohort = _cohort([_cscl(), _cscl(4.2), None, _cscl(3.5, (11, 17))], 8)
    assert Uniqueness().measure(cohort).summary["unique"] == 2 / 8
    assert Novelty().measure(cohort).summary["novel"] == 3 / 8
    assert Validity().measure(cohort).summary["valid"] == 3 / 8
    assert RelaxationSummary().measure(cohort).summary["converged"] == 3 / 8


def test_relaxed_geometries_are_compared_once_there_are_any() -> None:
    crystals = [_cscl(), _cscl(3.5, (11, 17))]
    samples = [Sample(i, c) for i, c in enumerate(crystals)]
    merged = [Relaxation(_cscl(), energy=0.0)] * 2
    cohort = Cohort(samples, 2, LocalPool(), relaxations=merged)
    assert Uniqueness().measure(cohort).per_sample["unique"] == [True, False]
    assert Uniqueness().measure(cohort).notes["geometry"] == "relaxed"


def test_stability_counts_the_threshold_itself_and_no_sample_outside_the_hull() -> None:
    nacl = _cscl(3.5, (11, 17))
    cohort = _cohort([nacl, nacl, nacl, _cscl()], 5, energies=[0.2, 0.0, 0.202, 0.0])
    found = Stability().measure(cohort)
    assert found.per_sample["stable"] == [True, True, False, None, None]
    assert found.per_sample["on_hull"] == [False, True, False, None, None]
    assert found.summary["stable"] == 2 / 5
    assert found.notes["outside_hull"] == 1
    assert found.summary["energy_above_hull_median"] == 0.1


def test_sun_is_the_intersection() -> None:
    nacl, kbr = _cscl(3.5, (11, 17)), _cscl(4.0, (19, 35))
    cohort = _cohort([nacl, nacl, kbr, _cscl()], 5, energies=[0.0, 0.0, 0.0, 0.0])
    # unique and stable and new; repeated; known; outside the hull; never sampled
    sun = _run_all(cohort)["sun"]
    assert sun.per_sample["sun"] == [True, False, False, None, None]
    assert sun.summary["sun"] == 1 / 5


def test_metastable_is_above_the_hull_but_not_far_and_disjoint_from_stable_on_it() -> None:
    crystals = [
        _cscl(3.5, (11, 17)),
        _cscl(3.4, (3, 9)),
        _cscl(3.9, (37, 35)),
        _cscl(4.0, (19, 35)),
    ]
    cohort = _cohort(crystals, 4, energies=[0.0, 0.2, 0.22, 0.1])
    # on the hull; 0.1 eV/atom above; too far above; known
    sun = _run_all(cohort)["sun"]
    assert sun.per_sample["msun"] == [False, True, False, False]
    assert sun.per_sample["unique_novel"] == [True, True, True, False]
    assert sun.summary["msun"] == 1 / 4


def test_without_energies_sun_still_tells_what_is_unique_and_novel() -> None:
    bare = _cohort([_cscl(3.5, (11, 17)), _cscl(4.0, (19, 35))], 2)
    done = {cls.name: cls().measure(bare) for cls in (Uniqueness, Novelty)}
    found = Sun().measure(Cohort(**{**vars(bare), "done": done}))
    assert found.summary == {"unique_novel": 0.5}
    assert "stability" in str(found.notes["sun"])


def test_the_match_rate_counts_crystals_that_relaxed_into_something_else() -> None:
    samples = [Sample(0, _cscl()), Sample(1, _cscl())]
    other = Crystal(np.diag([3.0, 3.0, 30.0]), CSCL, np.array([55, 17]))
    relaxations = [Relaxation(_cscl(4.2), energy=0.0), Relaxation(other, energy=0.0)]
    found = MatchRate().measure(Cohort(samples, 2, LocalPool(), relaxations=relaxations))
    assert found.per_sample["matches_relaxed"] == [True, False]
    assert found.summary["matches_relaxed"] == 0.5


class _Length(ScalarCondition):
    """Length of the first vector."""

    name = "length"
    unit = "Å"

    def achieved(self, crystal: Crystal) -> PropertyValue | None:
        return float(crystal.lattice[0, 0])


class _SpaceGroup(ScalarCondition):
    """Space group."""

    name = "space_group"
    unit = "number"
    column = "space_group"


class _Hull(ScalarCondition):
    """Energy above the hull."""

    name = "energy_above_hull"
    unit = "eV/atom"
    column = "energy_above_hull"


class _Gap(ScalarCondition):
    """What a structure does not show."""

    name = "gap"
    unit = "eV"


def test_requests_are_compared_with_what_the_crystal_shows() -> None:
    conditions: dict[str, Condition] = {c.label: c for c in (_Length(), _SpaceGroup(), _Gap())}
    wanted = {"length": 4.0, "space_group": 221.0, "gap": 1.0}
    noisy = Crystal(
        np.eye(3) * 5.0, CSCL + np.array([[0, 0, 0], [0.005, 0, 0]]), np.array([55, 17])
    )
    samples = [Sample(i, c, requested=wanted) for i, c in enumerate([_cscl(4.1), noisy, None])]
    found = Conditions().measure(Cohort(samples, 4, LocalPool(), conditions=conditions))
    assert found.per_sample["length_error"] == [pytest.approx(0.1), 1.0, None, None]
    assert found.summary["length_error_mean"] == pytest.approx(0.55)
    assert found.summary["length_reached"] == 1 / 4
    assert found.summary["space_group_reached_0.01"] == 1 / 4
    assert found.summary["space_group_reached_0.1"] == 2 / 4
    assert found.notes["gap"] == "a structure does not show it"
    assert found.summary["length_deviation_mean"] == pytest.approx(0.55)


def test_an_absolute_tolerance_takes_the_place_of_the_relative_one() -> None:
    samples = [Sample(0, _cscl(4.1), requested={"length": 4.0})]
    cohort = Cohort(samples, 1, LocalPool(), conditions={"length": _Length()})
    assert Conditions(tolerances={"length": 0.09}).measure(cohort).summary["length_reached"] == 0.0
    assert Conditions(tolerances={"length": 0.11}).measure(cohort).summary["length_reached"] == 1.0


def test_space_groups_of_relaxed_crystals_are_compared_too() -> None:
    bent = Crystal(np.diag([4.1, 4.1, 4.4]), CSCL, np.array([55, 17]))
    samples = [Sample(0, bent, requested={"space_group": 221.0})]
    cohort = Cohort(
        samples,
        1,
        LocalPool(),
        relaxations=[Relaxation(_cscl(), energy=0.0)],
        conditions={"space_group": _SpaceGroup()},
    )
    found = Conditions().measure(cohort).summary
    assert found["space_group_reached_0.1"] == 0.0
    assert found["space_group_reached_relaxed_0.1"] == 1.0


def test_the_energy_above_the_hull_that_was_asked_for_is_what_stability_measured() -> None:
    condition = _Hull()
    wanted, energies = {"energy_above_hull": 0.0}, (0.0, 0.08, 2.0)
    samples = [Sample(i, _cscl(3.5, (11, 17)), requested=wanted) for i in range(3)]
    relaxations = [Relaxation(s.crystal, energy=e) for s, e in zip(samples, energies, strict=True)]
    cohort = Cohort(
        samples,
        4,
        LocalPool(),
        relaxations=relaxations,
        hull=_FixedHull(),
        conditions={"energy_above_hull": condition},
    )
    done = {"stability": Stability().measure(cohort)}
    found = Conditions().measure(Cohort(**{**vars(cohort), "done": done}))
    assert found.per_sample["energy_above_hull_achieved"] == [0.0, 0.04, 1.0, None]
    assert found.summary["energy_above_hull_reached"] == 2 / 4
    unmeasured = Conditions().measure(cohort)
    assert "stability" in unmeasured.skipped


def test_space_groups_are_the_textbooks() -> None:
    assert space_group(_cscl(), 0.01) == 221
    assert space_group(_cscl(4.0, (55, 55)), 0.01) == 229
