"""Energies and references are on one scale, or they are not compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from matgen.errors import BadFile, BadOptions, OutsideHull
from matgen.evaluation.energy_corrections import corrected
from matgen.evaluation.energy_log import energy_settings, potential_of
from matgen.evaluation.pipeline import EvaluationPlan
from matgen.io.hull_file import HullFile, write_hull_file
from matgen.records import Crystal
from matgen.roles.relaxer import Relaxer
from matgen_executors.local import LocalExecutor
from matgen_hulls.file import FileOfTotals
from matgen_hulls.fits import calibration_of, elemental_fits, file_digest
from matgen_hulls.mp2020 import SHIPPED, Mp2020
from matgen_hulls.phase_hull import PhaseHull
from matgen_hulls.phases import Phases
from matgen_relaxers.chgnet import Chgnet
from matgen_relaxers.mattersim import MatterSim
from matgen_relaxers.sevennet import SevenNet

ROCK_SALT = Crystal(
    np.array([[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
    np.array([12, 8]),
)
"""MgO: an oxide, so MP2020 adds -0.687 eV."""


def _plan(relaxer: Relaxer, hull: Mp2020 | FileOfTotals) -> EvaluationPlan:
    return EvaluationPlan(evaluators=(), executor=LocalExecutor(), relaxer=relaxer, hull=hull)


def _file(path: Path, **note: object) -> str:
    pure = [({"Mg": 1.0}, -1.6), ({"O": 1.0}, -4.95)]
    write_hull_file(path, HullFile("total", pure, note))
    return str(path)


def test_raw_energies_are_corrected_once_and_corrected_ones_never() -> None:
    phases = Phases([({"Mg": 1.0}, 0.0), ({"O": 1.0}, 0.0)])
    zeros = {"Mg": 0.0, "O": 0.0}
    raw = PhaseHull(phases, references=zeros, scheme="mp2020").distance(ROCK_SALT, -12.0)
    never = PhaseHull(phases, references=zeros).distance(ROCK_SALT, -12.0)
    assert never == pytest.approx(-6.0)
    assert raw == pytest.approx((-12.0 - 0.687) / 2)


@pytest.mark.parametrize(("relaxer", "told"), [(Chgnet(), "no"), (SevenNet(), "yes, mp2020")])
def test_the_report_is_told_whether_energies_are_corrected(relaxer: Relaxer, told: str) -> None:
    hull = Mp2020().open(relaxer)
    notes = hull.notes()
    assert str(notes["energies_corrected"]).startswith(told)
    assert notes["hull_entries"] == 43989
    assert "CC BY 4.0" in str(notes["hull_licence"])
    assert "meV/atom lower" in str(notes["shipped_against_whole_hull"])


@pytest.mark.parametrize("relaxer", [Chgnet(), SevenNet()])
def test_fitted_potentials_are_calibrated_on_the_shipped_hull(relaxer: Relaxer) -> None:
    calibration = Mp2020().open(relaxer).calibration()
    assert calibration is not None
    assert calibration.n > 1000
    assert [calls.threshold_ev_per_atom for calls in calibration.stable] == [0.0, 0.05, 0.1]
    for calls in calibration.stable:
        assert 0 < calls.n_both <= min(calls.n_true, calls.n_called)


def test_a_calibration_is_of_one_model_and_one_hull() -> None:
    digest = file_digest(SHIPPED)
    assert calibration_of(Chgnet(), digest) is not None
    assert calibration_of(Chgnet(), "0" * 16) is None
    assert calibration_of(SevenNet(model="7net-l3i5"), digest) is None


def test_another_model_needs_references_of_its_own() -> None:
    with pytest.raises(BadOptions, match="7net-l3i5"):
        _plan(SevenNet(model="7net-l3i5"), Mp2020())
    with pytest.raises(BadOptions, match="sevennet"):
        _plan(MatterSim(), Mp2020())


def test_own_references_take_the_place_of_the_shipped_ones(tmp_path: Path) -> None:
    fit = {
        "relaxer": "mattersim", "settings": {}, "correction": "mp2020",
        "references_ev_per_atom": {"Mg": -1.5, "O": -4.9},
        "held_out": {"n": 1, "bias_ev_per_atom": 0.0, "mae_ev_per_atom": 0.02},
    }  # fmt: skip
    fit["settings"] = energy_settings(MatterSim())
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"format": 2, "fits": [fit]}))
    hull = Mp2020(references=str(path)).open(MatterSim())
    formation = (-12.0 - 0.687 + 1.5 + 4.9) / 2
    on_hull = Mp2020().phases().energy({"Mg": 0.5, "O": 0.5})
    assert hull.distance(ROCK_SALT, -12.0) == pytest.approx(formation - on_hull)


def test_a_file_of_something_else_is_no_file_of_references(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"format": 1}')
    with pytest.raises(BadFile, match="format"):
        elemental_fits(tmp_path / "mine.json")


def test_the_scale_of_a_file_must_be_the_potentials(tmp_path: Path) -> None:
    mp2020 = FileOfTotals(path=_file(tmp_path / "a.parquet", energy_scale="mp2020"))
    raw = FileOfTotals(path=_file(tmp_path / "b.parquet", energy_scale="pbe+u"))
    _plan(Chgnet(), mp2020)
    _plan(SevenNet(), mp2020)
    _plan(SevenNet(), raw)
    with pytest.raises(BadOptions, match=r"'mp2020'.*'pbe\+u'"):
        _plan(Chgnet(), raw)


def test_a_file_without_a_scale_asks_for_one(tmp_path: Path) -> None:
    path = _file(tmp_path / "a.parquet")
    with pytest.raises(BadOptions, match=r"hull\.scale"):
        _plan(Chgnet(), FileOfTotals(path=path))
    _plan(Chgnet(), FileOfTotals(path=path, scale="mp2020"))
    stated = _file(tmp_path / "b.parquet", energy_scale="tri2024")
    with pytest.raises(BadOptions, match="tri2024"):
        _plan(Chgnet(), FileOfTotals(path=stated, scale="mp2020"))


@pytest.mark.parametrize("scale", ["mp2020", "tri2024"])
def test_a_file_on_the_scale_of_a_scheme_corrects_by_it(tmp_path: Path, scale: str) -> None:
    path = _file(tmp_path / "a.parquet", energy_scale=scale)
    hull = FileOfTotals(path=path).open(SevenNet())
    expected = corrected(ROCK_SALT, -12.0, "tri2024" if scale == "tri2024" else "mp2020") / 2
    assert hull.distance(ROCK_SALT, -12.0) == pytest.approx(expected - (-1.6 - 4.95) / 2)


def test_energies_of_another_potential_are_warned_of(tmp_path: Path) -> None:
    potential = {"relaxer": "sevennet", "package": "sevenn 0.13.0"}
    path = _file(tmp_path / "a.parquet", energy_scale="mp2020", potential=potential)
    notes = FileOfTotals(path=path).open(Chgnet()).notes()
    assert "another potential" in str(notes["hull_warning"])


def test_energies_of_the_same_potential_are_not_warned_of(tmp_path: Path) -> None:
    potential = potential_of(Chgnet(max_steps=7))
    path = _file(tmp_path / "a.parquet", energy_scale="mp2020", potential=potential)
    notes = FileOfTotals(path=path).open(Chgnet()).notes()
    assert str(notes["hull_potential"]).startswith("chgnet (chgnet 0.")
    assert "hull_warning" not in notes


def test_only_the_sample_with_an_element_without_entry_is_outside(tmp_path: Path) -> None:
    hull = FileOfTotals(path=_file(tmp_path / "a.parquet", energy_scale="mp2020")).open(Chgnet())
    salt = Crystal(ROCK_SALT.lattice, ROCK_SALT.frac, np.array([11, 17]))
    with pytest.raises(OutsideHull, match="Cl, Na"):
        hull.distance(salt, -7.0)
    assert hull.own_distances([salt, ROCK_SALT], [-7.0, -12.0]) == [None, pytest.approx(0.0)]


def test_random_hulls_are_those_of_pymatgens_phase_diagram() -> None:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core.composition import Composition

    rng = np.random.default_rng(3)
    for n_elements in (1, 2, 3, 4, 5) * 4:
        elements = sorted(rng.choice(["Li", "Na", "Mg", "Al", "Fe", "O", "S"], n_elements, False))
        counts = [*np.eye(n_elements, dtype=int), *rng.integers(0, 5, (25, n_elements))]
        compositions = [Composition(dict(zip(elements, row, strict=True))) for row in counts]
        energies = rng.normal(-4.0, 1.0, len(compositions))
        known = [
            (composition, energy)
            for composition, energy in zip(compositions, energies, strict=True)
            if composition.num_atoms
        ]
        diagram = PhaseDiagram([PDEntry(c, energy * c.num_atoms) for c, energy in known])
        phases = Phases(
            ({str(e): c.get_atomic_fraction(e) for e in c}, float(energy)) for c, energy in known
        )
        for composition, energy in known:
            fractions = {str(e): composition.get_atomic_fraction(e) for e in composition}
            entry = PDEntry(composition, energy * composition.num_atoms)
            expected = diagram.get_e_above_hull(entry, allow_negative=True)
            assert energy - phases.energy(fractions) == pytest.approx(expected, abs=1e-7)
