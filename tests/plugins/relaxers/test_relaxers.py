"""CHGNet relaxes real crystals; MatterSim says what is missing."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from matgen.errors import BadFile, MissingDependency
from matgen.records import Crystal
from matgen_hulls.mp2020 import Mp2020
from matgen_relaxers.chgnet import Chgnet
from matgen_relaxers.mattersim import MatterSim
from tests.plugins.relaxers.given import (
    assert_batches_agree,
    cube_length,
    hide,
    rock_salt,
    silicon,
)

HAS_CHGNET = importlib.util.find_spec("chgnet") is not None
HAS_MATTERSIM = importlib.util.find_spec("mattersim") is not None


@pytest.mark.slow
@pytest.mark.skipif(not HAS_CHGNET, reason="chgnet is not installed")
def test_chgnet_finds_the_cells_of_silicon_and_salt(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(Chgnet().open("cpu").relax([silicon(), rock_salt()]))
    assert all(relaxation.converged for relaxation in found)
    # PBE lattice constants: 5.47 Å and 5.69 Å; a potential may miss them by one per cent.
    assert [cube_length(relaxation) for relaxation in found] == pytest.approx(
        [5.47, 5.69], rel=0.01
    )
    # Total energies of two atoms, eV: PBE -10.84, MP2020-corrected NaCl about -7.3.
    assert [relaxation.energy for relaxation in found] == pytest.approx([-10.8, -7.3], abs=0.4)
    hull = Mp2020().open(Chgnet())
    for relaxation in found:
        assert relaxation.crystal is not None
        assert relaxation.energy is not None
        assert abs(hull.distance(relaxation.crystal, relaxation.energy)) < 0.12
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(not HAS_CHGNET, reason="chgnet is not installed")
def test_one_backward_pass_gives_what_chgnet_gives_by_two() -> None:
    from chgnet.model.dynamics import CHGNetCalculator

    strain = np.array([[1.02, 0.01, 0.0], [0.0, 0.99, 0.03], [0.0, 0.0, 1.0]])
    moved = np.array([[0.0, 0.0, 0.0], [0.01, -0.02, 0.03]])
    salt = rock_salt()
    strained = replace(salt, lattice=salt.lattice @ strain, frac=salt.frac + moved)
    lonely = Crystal(15.0 * np.eye(3), np.zeros((1, 3)), np.array([10]))
    own, theirs = Chgnet().calculator("cpu"), CHGNetCalculator(on_isolated_atoms="ignore")
    for crystal in (silicon(), strained, lonely):
        atoms, others = crystal.to_atoms(), crystal.to_atoms()
        atoms.calc, others.calc = own, theirs
        # Both work in single precision.
        assert atoms.get_potential_energy() == pytest.approx(others.get_potential_energy(), 1e-6)
        if crystal is lonely:
            assert not atoms.get_forces().any()
            continue
        np.testing.assert_allclose(atoms.get_forces(), others.get_forces(), atol=1e-4)
        np.testing.assert_allclose(atoms.get_stress(), others.get_stress(), atol=1e-5)


def test_a_missing_chgnet_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "chgnet")
    with pytest.raises(MissingDependency, match=r"pip install matgen\[chgnet\]"):
        Chgnet().open("cpu")


def test_a_missing_mattersim_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "mattersim")
    with pytest.raises(MissingDependency, match=r"pip install matgen\[mattersim\]"):
        MatterSim().open("cpu")


class _Calculator:
    def __init__(self, load_path: str, device: str) -> None:
        self.load_path = load_path
        if Path(load_path).read_text() != "weights":
            raise RuntimeError("PytorchStreamReader failed reading zip archive")


def _stand_in(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Put a package in place that finds, downloads and loads as mattersim does, offline."""

    def download_checkpoint(name: str, save_folder: str) -> None:
        raise ConnectionError(name)

    forcefield = ModuleType("mattersim.forcefield")
    forcefield.MatterSimCalculator = _Calculator  # type: ignore[attr-defined] # made here
    downloads = ModuleType("mattersim.utils.download_utils")
    downloads.download_checkpoint = download_checkpoint  # type: ignore[attr-defined] # made here
    for name, module in {
        "mattersim": ModuleType("mattersim"),
        "mattersim.forcefield": forcefield,
        "mattersim.utils": ModuleType("mattersim.utils"),
        "mattersim.utils.download_utils": downloads,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("HOME", str(home))


@pytest.mark.parametrize(
    ("weights", "file"),
    [("", "mattersim-v1.0.0-1M.pth"), ("MatterSim-v1.0.0-5M", "mattersim-v1.0.0-5M.pth")],
)
def test_missing_weights_say_which_file_goes_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: str, file: str
) -> None:
    _stand_in(monkeypatch, tmp_path)
    place = tmp_path / ".local/mattersim/pretrained_models" / file
    with pytest.raises(MissingDependency, match=str(place)):
        MatterSim(weights=weights).calculator("cpu")
    place.parent.mkdir(parents=True)
    place.write_text("weights")
    assert MatterSim(weights=weights).calculator("cpu").load_path == str(place)


def test_a_named_file_is_loaded_or_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _stand_in(monkeypatch, tmp_path)
    file = tmp_path / "mine.pth"
    with pytest.raises(MissingDependency, match=r"mine\.pth"):
        MatterSim(weights=str(file)).calculator("cpu")
    file.write_text("junk")
    with pytest.raises(BadFile, match="no weights of MatterSim"):
        MatterSim(weights=str(file)).calculator("cpu")


def test_the_torchvision_trap_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Trap:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "mattersim":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "mattersim", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Trap(), *sys.meta_path])
    with pytest.raises(MissingDependency, match="pip uninstall torchvision torchaudio"):
        MatterSim().open("cpu")


def _tiny_mattersim(path: Path) -> None:
    """Write a small checkpoint with random weights."""
    import torch
    from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
    from mattersim.forcefield.potential import Potential

    torch.manual_seed(0)
    network = M3Gnet(num_blocks=1, units=8, device="cpu")
    Potential(network, device="cpu").save(str(path))


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.skipif(not HAS_MATTERSIM, reason="mattersim is not installed")
def test_a_checkpoint_of_mattersims_format_relaxes(tmp_path: Path) -> None:
    _tiny_mattersim(tmp_path / "tiny.pth")
    session = MatterSim(weights=str(tmp_path / "tiny.pth"), max_steps=2).open("cpu")
    # Random weights: only the path from file to energies is meant.
    (found,) = session.relax([rock_salt(5.7, 0.01)])
    assert found.crystal is not None, found.error
    assert np.isfinite(found.energy)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_MATTERSIM, reason="mattersim is not installed")
@pytest.mark.skipif(
    importlib.util.find_spec("torch_sim") is None, reason="torch-sim is not installed"
)
def test_mattersim_in_batches_agrees_with_one_by_one(tmp_path: Path) -> None:
    _tiny_mattersim(tmp_path / "tiny.pth")
    assert_batches_agree(MatterSim(weights=str(tmp_path / "tiny.pth"), max_steps=3))
