"""Crystals whose lattice constants everybody knows, and packages that are not there."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from matgen.records import Crystal, Relaxation
from matgen.roles.relaxer import TorchSimRelaxer

FCC_PRIMITIVE = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])


def silicon(length: float = 5.6) -> Crystal:
    """Two atoms in a primitive cell whose cube is ``length`` Å wide."""
    frac = np.array([[0.0] * 3, [0.25] * 3])
    return Crystal(FCC_PRIMITIVE * length, frac, np.array([14, 14]))


def rock_salt(length: float = 5.8, rattle: float = 0.02) -> Crystal:
    rng = np.random.default_rng(3)
    frac = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]) + rng.normal(0, rattle, (2, 3))
    return Crystal(FCC_PRIMITIVE * length, frac, np.array([11, 17]))


def cube_length(relaxation: Relaxation) -> float:
    """Width of the cube, Å, of a relaxed primitive fcc cell."""
    assert relaxation.crystal is not None, relaxation.error
    return float((4 * relaxation.crystal.volume) ** (1 / 3))


def assert_batches_agree(relaxer: TorchSimRelaxer) -> None:
    """Relax two crystals one by one and in a batch: same energies, same cells, same steps."""
    given = [rock_salt(5.7, 0.01), rock_salt(5.5, 0.02)]
    alone, together = (
        list(relaxer.model_copy(update={"batched": how}).open("cpu").relax(given))
        for how in ("no", "yes")
    )
    for one, other in zip(alone, together, strict=True):
        assert one.crystal is not None, one.error
        assert other.crystal is not None, other.error
        assert other.energy == pytest.approx(one.energy, abs=0.001)
        assert other.initial_energy == pytest.approx(one.initial_energy, abs=0.001)
        assert other.crystal.lattice == pytest.approx(one.crystal.lattice, abs=0.005)
        assert other.n_steps == one.n_steps


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let a package not be installed."""

    class _Hider:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.split(".", maxsplit=1)[0] == package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Hider(), *sys.meta_path])
