"""Relaxations end in bounds; whatever goes wrong is a result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from numpy.typing import NDArray

from matgen.evaluation.ase_relaxation import AseSession
from matgen.evaluation.relaxation_bounds import burst_cell, collapse, objection
from matgen.records import Crystal, Relaxation
from matgen.roles.relaxer import AseRelaxer

ARGON_EV, ARGON_ANG = 0.0104, 3.40
FCC = np.array([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


class _Argon(AseRelaxer):
    """Lennard-Jones argon."""

    name = "argon"
    energy_scale = "toy"

    def calculator(self, device: str) -> Calculator:
        return LennardJones(epsilon=ARGON_EV, sigma=ARGON_ANG, rc=9.0, smooth=True)


class _Given(Calculator):  # type: ignore[misc] # ase is untyped
    """Answers with one energy and force, or raises."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, energy: float, force: float = 1.0, pressure: float = 0.0) -> None:
        super().__init__()
        self.answer = energy, force, pressure

    def calculate(
        self,
        atoms: Any = None,  # ase is untyped
        properties: Any = None,
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        energy, force, pressure = self.answer
        if energy > 1e6:
            raise ZeroDivisionError("the network is on fire")
        self.results = {
            "energy": energy,
            "forces": np.full((len(atoms), 3), force) * [[1], [-1]],
            "stress": np.array([pressure] * 3 + [0.0] * 3),
        }


def _argon(length: float, shift: float = 0.0) -> Crystal:
    frac = FCC + np.array([[shift, 0, 0], [0, 0, 0], [0, 0, 0], [0, shift, 0]])
    return Crystal(np.eye(3) * length, frac, np.full(4, 18))


def _pair(length: float = 4.0) -> Crystal:
    frac = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
    return Crystal(np.eye(3) * length, frac, np.array([11, 17]), np.array([1, -1]))


def _relax(calculator: Calculator, crystal: Crystal, **settings: float) -> Relaxation:
    (found,) = AseSession(_Argon(**settings), calculator).relax([crystal])
    return found


def test_a_rattled_crystal_falls_into_its_lattice() -> None:
    session = _Argon(fmax_ev_per_ang=0.001).open("cpu")
    found, ideal = session.relax([_argon(5.5, 0.02), _argon(5.2)])
    assert found.converged
    assert ideal.converged
    assert found.crystal is not None
    assert ideal.crystal is not None
    assert found.energy is not None
    assert found.initial_energy is not None
    assert found.energy < found.initial_energy
    # Both start points fall into the one minimum, within what fmax leaves open.
    assert found.energy == pytest.approx(ideal.energy, abs=1e-4)
    assert found.crystal.volume == pytest.approx(ideal.crystal.volume, rel=5e-3)


def test_the_energy_is_that_of_the_cell() -> None:
    one = _relax(_Argon().calculator("cpu"), _argon(5.2), max_steps=0)
    double = Crystal(
        np.diag([2.0, 1, 1]) * 5.2,
        np.concatenate([FCC, FCC + np.array([1, 0, 0])]) / [2, 1, 1],
        np.full(8, 18),
    )
    two = _relax(_Argon().calculator("cpu"), double, max_steps=0)
    assert one.energy == one.initial_energy
    assert two.energy == pytest.approx(2 * (one.energy or 0.0))
    assert (one.n_steps, two.n_steps) == (0, 0)


def test_steps_end_at_the_cap_with_what_is_reached() -> None:
    found = _relax(_Argon().calculator("cpu"), _argon(5.6, 0.05), max_steps=2, fmax_ev_per_ang=1e-6)
    assert found.n_steps == 2
    assert not found.converged
    assert found.crystal is not None
    assert not found.error


def test_time_ends_it_too() -> None:
    found = _relax(_Given(-1.0), _pair(), max_seconds=1e-9)
    assert found.n_steps <= 1
    assert found.crystal is not None
    assert not found.converged


@pytest.mark.parametrize(
    ("calculator", "says"),
    [
        (_Given(np.nan), "not finite"),
        (_Given(-1.0, force=np.inf), "not finite"),
        (_Given(-1.0, force=0.0, pressure=-3.0), "volume"),
        (_Given(-1.0, force=0.0, pressure=3.0), "volume"),
        (_Given(-1.0, force=300.0), "within"),
        (_Given(1e7), "ZeroDivisionError: the network is on fire"),
    ],
)
def test_what_explodes_is_an_error_result(calculator: Calculator, says: str) -> None:
    found = _relax(calculator, _pair(), max_steps=300)
    assert found.crystal is None
    assert found.energy is None
    assert says in found.error


def test_one_failure_does_not_touch_the_next() -> None:
    overlapping = _argon(5.2).take(np.array([0, 0]))
    results = list(_Argon().open("cpu").relax([overlapping, _argon(5.2)]))
    assert "apart" in results[0].error
    assert results[1].converged


@pytest.mark.parametrize(
    ("crystal", "says"),
    [
        (Crystal(np.full((3, 3), np.nan), FCC, np.full(4, 18)), "finite"),
        (Crystal(np.eye(3), np.zeros((0, 3)), np.zeros(0, dtype=np.int64)), "no sites"),
        (_pair(60.0), "per site"),
        (_pair(1.2), "per site"),
        (Crystal(np.diag([90.0, 90.0, 0.45]), FCC[:1], np.array([18])), "0.45 Å"),
        (_argon(5.2).take(np.array([0, 1, 1])), "apart"),
    ],
)
def test_hopeless_starts_are_refused(crystal: Crystal, says: str) -> None:
    assert says in objection(crystal)


@pytest.mark.parametrize(
    ("lattice", "says"),
    [
        (np.eye(3) * 7.0, "volume"),
        (np.eye(3) * 2.0, "volume"),
        (np.full((3, 3), np.nan), "finite"),
        (np.diag([0.4, 10.0, 16.0]), "0.4 Å thin"),
        (np.eye(3) * 4.1, ""),
        (-np.eye(3) * 4.1, ""),
    ],
)
def test_a_cell_that_bursts_on_the_way_is_noticed(lattice: NDArray[np.float64], says: str) -> None:
    found = burst_cell(_pair(), lattice)
    assert says in found
    assert bool(says) == bool(found)


def test_sites_in_one_place_are_noticed() -> None:
    assert "within" in collapse(_argon(5.2).take(np.array([0, 1, 1])))
    assert collapse(_argon(5.2)) == ""


def test_the_potential_never_sees_what_is_out_of_bounds() -> None:
    seen: list[float] = []

    class _Watched(_Given):
        def calculate(self, atoms: Any = None, *rest: Any) -> None:
            seen.append(atoms.get_volume())
            super().calculate(atoms, *rest)

    found = _relax(_Watched(-1.0, force=0.0, pressure=-3.0), _pair(), max_steps=300)
    assert "volume" in found.error
    assert 64.0 < max(seen) <= 3 * 64.0


def test_order_and_oxidation_states_stay() -> None:
    found = _relax(_Given(-1.0, force=0.0), _pair())
    assert found.crystal is not None
    assert found.crystal.numbers.tolist() == [11, 17]
    assert found.crystal.oxidation is not None
    assert found.crystal.oxidation.tolist() == [1, -1]
