"""MACE loads models of its own format; what is missing is said."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from matgen.errors import BadFile, MissingDependency
from matgen_relaxers.mace import Mace
from tests.plugins.relaxers.given import assert_batches_agree, hide, rock_salt

needs_mace = pytest.mark.skipif(
    importlib.util.find_spec("mace") is None, reason="mace-torch is not installed"
)


def test_a_missing_mace_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "mace")
    with pytest.raises(MissingDependency, match=r"pip install matgen\[mace\]"):
        Mace().open("cpu")


def test_the_energy_scale_is_that_of_the_weights() -> None:
    assert Mace().energy_scale == "pbe+u"
    assert Mace(model="medium-omat-0").energy_scale == "omat24"


@needs_mace
def test_missing_weights_say_which_file_goes_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mace.calculators import foundations_models

    def download(model: str) -> str:
        raise RuntimeError(model)

    monkeypatch.setattr(foundations_models, "download_mace_mp_checkpoint", download)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingDependency, match=str(tmp_path / "mace/macempa0mediummodel")):
        Mace().open("cpu")
    with pytest.raises(MissingDependency, match=r"mine\.model do not exist"):
        Mace(weights=str(tmp_path / "mine.model")).open("cpu")
    (tmp_path / "mine.model").write_text("junk")
    with pytest.raises(BadFile, match="no weights of MACE"):
        Mace(weights=str(tmp_path / "mine.model")).open("cpu")


def tiny_model(path: Path) -> None:
    """Write a small MACE with random weights for sodium and chlorine."""
    import torch
    from mace.modules import ScaleShiftMACE, interaction_classes  # isort: skip - before e3nn
    from e3nn import o3

    torch.manual_seed(0)
    block = interaction_classes["RealAgnosticResidualInteractionBlock"]
    network = ScaleShiftMACE(
        r_max=4.0,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=1,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=2,
        hidden_irreps=o3.Irreps("4x0e"),
        MLP_irreps=o3.Irreps("4x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.array([-1.0, -2.0]),
        avg_num_neighbors=6.0,
        atomic_numbers=[11, 17],
        correlation=1,
        atomic_inter_scale=0.1,
        atomic_inter_shift=0.0,
    )
    torch.save(network, path)


@pytest.mark.slow
@needs_mace
def test_a_model_of_maces_format_relaxes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model(tmp_path / "tiny.model")
    session = Mace(weights=str(tmp_path / "tiny.model"), max_steps=2).open("cpu")
    # Random weights: only the path from file to energies is meant.
    (found,) = session.relax([rock_salt(5.7, 0.01)])
    assert found.crystal is not None, found.error
    assert found.energy == pytest.approx(-3.0, abs=1.0)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@needs_mace
@pytest.mark.skipif(
    importlib.util.find_spec("torch_sim") is None, reason="torch-sim is not installed"
)
def test_batches_agree_with_one_by_one(tmp_path: Path) -> None:
    tiny_model(tmp_path / "tiny.model")
    assert_batches_agree(Mace(weights=str(tmp_path / "tiny.model"), max_steps=3))
