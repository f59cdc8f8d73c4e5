"""Batches through torch-sim find what relaxing one by one finds, in the same bounds."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from matgen.errors import MissingDependency
from matgen.records import Crystal, Relaxation
from matgen_relaxers.sevennet import SevenNet
from tests.plugins.relaxers.given import rock_salt, silicon

needs_torch_sim = pytest.mark.skipif(
    importlib.util.find_spec("torch_sim") is None, reason="torch-sim is not installed"
)
needs_sevenn = pytest.mark.skipif(
    importlib.util.find_spec("sevenn") is None, reason="sevenn is not installed"
)


def test_batches_without_torch_sim_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not SevenNet().takes_many("cuda")
    with pytest.raises(MissingDependency, match=r"pip install matgen\[torch-sim\]"):
        SevenNet(batched="yes").open("cpu")


def left_handed(crystal: Crystal) -> Crystal:
    """The same crystal on a cell with one vector inverted."""
    flip = np.array([1.0, 1.0, -1.0])
    return Crystal(crystal.lattice * flip[:, None], crystal.frac * flip, crystal.numbers)


@pytest.mark.slow
@needs_torch_sim
@needs_sevenn
def test_sevennet_in_batches_agrees_with_sevennet_one_by_one() -> None:
    given = [silicon(), rock_salt(), silicon(5.3), left_handed(rock_salt(5.6)), rock_salt()]
    alone, together = (
        list(SevenNet(batched=how, batch_sites=6).open("cpu").relax(given)) for how in ("no", "yes")
    )
    for one, other in zip(alone, together, strict=True):
        assert one.converged
        assert other.converged
        assert one.crystal is not None
        assert other.crystal is not None
        # The same steps in other arithmetic (float32 on both sides): measured 0.003 meV/atom.
        assert other.energy == pytest.approx(one.energy, abs=0.0005)
        assert other.initial_energy == pytest.approx(one.initial_energy, abs=0.0005)
        assert other.crystal.lattice == pytest.approx(one.crystal.lattice, abs=0.01)
        assert other.n_steps == pytest.approx(one.n_steps, abs=2)
    shift = together[3].crystal
    assert shift is not None
    assert np.linalg.det(shift.lattice) < 0


def _argon_session(
    change: Callable[[Any, dict[str, Any]], dict[str, Any]] | None = None, **settings: Any
) -> Any:
    """A session with torch-sim's own Lennard-Jones argon; ``change`` spoils what it answers."""
    import torch
    from torch_sim.models.lennard_jones import LennardJonesModel

    from matgen.evaluation.torch_sim_relaxation import TorchSimSession

    class _Argon(LennardJonesModel):  # type: ignore[misc] # torch-sim is optional
        def forward(self, state: Any) -> dict[str, Any]:
            results = super().forward(state)
            return results if change is None else change(state, results)

    model = _Argon(
        sigma=3.4,
        epsilon=0.0104,
        cutoff=6.0,
        compute_forces=True,
        compute_stress=True,
        device=torch.device("cpu"),
        dtype=torch.float64,
    )
    return TorchSimSession(SevenNet(**settings), model)


def argon(length: float, n: int = 1) -> Crystal:
    """Face-centred cubic argon, ``n`` conventional cells long."""
    frac = np.array([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0.01]])
    whole = np.concatenate([(frac + np.eye(3)[0] * k) / [n, 1, 1] for k in range(n)])
    return Crystal(np.diag([n * length, length, length]), whole, np.full(4 * n, 18))


def same(one: Relaxation, other: Relaxation) -> bool:
    assert one.crystal is not None, one.error
    assert other.crystal is not None, other.error
    # Sums of other batches round differently.
    return bool(
        one.energy == pytest.approx(other.energy, abs=1e-9)
        and one.crystal.lattice == pytest.approx(other.crystal.lattice, abs=1e-7)
        and one.n_steps == other.n_steps
    )


@needs_torch_sim
def test_nobodys_steps_depend_on_who_else_is_in_the_batch() -> None:
    given = [argon(length) for length in (5.2, 5.6, 5.0, 5.4)]
    settings = {"fmax_ev_per_ang": 0.002}
    small, large = (
        list(_argon_session(batch_sites=sites, **settings).relax(given)) for sites in (1, 8)
    )
    assert len({found.n_steps for found in small}) > 1
    assert all(same(one, other) for one, other in zip(small, large, strict=True))


@needs_torch_sim
def test_a_batch_that_does_not_fit_goes_on_as_halves(caplog: pytest.LogCaptureFixture) -> None:
    import torch

    seen: list[int] = []

    def change(state: Any, results: dict[str, Any]) -> dict[str, Any]:
        seen.append(state.n_atoms)
        # Later than the first energies, as when a cell shrinks and its neighbours grow in number.
        if state.n_atoms > 8 and (len(seen) > 4 or state.n_atoms > 16):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return results

    given = [argon(length) for length in (5.2, 5.6, 5.0, 5.4, 5.3, 5.1)]
    settings = {"fmax_ev_per_ang": 0.002}
    found = list(_argon_session(change, batch_sites=24, **settings).relax(given))
    whole = list(_argon_session(**settings).relax(given))
    assert all(same(one, other) for one, other in zip(found, whole, strict=True))
    assert "halved" in caplog.text
    assert max(seen[-20:]) <= 8


@needs_torch_sim
def test_one_crystal_that_never_fits_is_one_failure() -> None:
    import torch

    def change(state: Any, results: dict[str, Any]) -> dict[str, Any]:
        if state.n_atoms > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return results

    found = list(_argon_session(change).relax([argon(5.3), argon(5.3, 3), argon(5.2)]))
    assert [relaxation.crystal is None for relaxation in found] == [False, True, False]
    assert "out of memory" in found[1].error


@needs_torch_sim
def test_what_explodes_or_breaks_fails_alone() -> None:
    def change(state: Any, results: dict[str, Any]) -> dict[str, Any]:
        for system in range(state.n_systems):
            sites = int((state.system_idx == system).sum())
            if sites == 8:
                results["stress"][system] = -3.0
            if sites == 12:
                raise KeyError("an element it does not know")
            if sites == 16:
                results["forces"][state.system_idx == system] = float("nan")
        return results

    given = [argon(5.3), argon(5.3, 2), argon(5.2), argon(5.3, 3), argon(5.3, 4), argon(5.1)]
    twice = argon(5.3).take(np.array([0, 0]))
    found = list(_argon_session(change).relax([*given, twice]))
    assert [relaxation.crystal is None for relaxation in found] == [
        False, True, False, True, True, False, True,
    ]  # fmt: skip
    assert "became" in found[1].error
    assert "an element it does not know" in found[3].error
    assert "not finite" in found[4].error
    assert "apart" in found[6].error


@needs_torch_sim
def test_caps_end_a_relaxation_with_what_is_reached() -> None:
    given = [argon(5.6), argon(5.0)]
    (capped, _) = _argon_session(max_steps=2, fmax_ev_per_ang=1e-6).relax(given)
    assert (capped.n_steps, capped.converged, capped.error) == (2, False, "")
    (single, _) = _argon_session(max_steps=0).relax(given)
    assert single.energy == single.initial_energy
    (timed, _) = _argon_session(max_seconds=1e-9, fmax_ev_per_ang=1e-6).relax(given)
    assert timed.crystal is not None
    assert timed.n_steps <= 1
