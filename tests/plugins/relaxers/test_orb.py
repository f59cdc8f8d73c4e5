"""ORB loads weights of its own format; what is missing is said."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from matgen.errors import BadFile, MissingDependency
from matgen_relaxers.orb import Orb
from tests.plugins.relaxers.given import assert_batches_agree, hide, rock_salt

needs_orb = pytest.mark.skipif(
    importlib.util.find_spec("orb_models") is None, reason="orb-models is not installed"
)


def test_a_missing_orb_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "orb_models")
    with pytest.raises(MissingDependency, match=r"pip install matgen\[orb\]"):
        Orb().open("cpu")


def test_the_energy_scale_is_that_of_the_weights() -> None:
    assert Orb().energy_scale == "pbe+u"
    assert Orb(model="orb-v3-conservative-inf-omat").energy_scale == "omat24"


@needs_orb
def test_missing_weights_say_which_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from orb_models.forcefield import pretrained

    def cached_path(url: str) -> str:
        if Path(url).exists():
            return url
        raise ConnectionError(url)

    monkeypatch.setattr(pretrained, "cached_path", cached_path)
    with pytest.raises(MissingDependency, match=r"orb-v3-conservative-inf-mpa-\d+\.ckpt"):
        Orb().open("cpu")
    with pytest.raises(MissingDependency, match=r"mine\.ckpt do not exist"):
        Orb(weights=str(tmp_path / "mine.ckpt")).open("cpu")
    (tmp_path / "mine.ckpt").write_text("junk")
    with pytest.raises(BadFile, match="no weights of ORB"):
        Orb(weights=str(tmp_path / "mine.ckpt")).open("cpu")


def random_weights(path: Path) -> None:
    """Write weights of the published architecture as they are before training."""
    import torch
    from orb_models.forcefield.atomic_system import SystemConfig
    from orb_models.forcefield.pretrained import orb_v3_conservative_architecture

    torch.manual_seed(0)
    network = orb_v3_conservative_architecture(
        device="cpu", system_config=SystemConfig(radius=6.0, max_num_neighbors=120)
    )
    torch.save(network.state_dict(), path)


@pytest.mark.slow
@needs_orb
def test_weights_of_orbs_format_relax(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random_weights(tmp_path / "random.ckpt")
    session = Orb(weights=str(tmp_path / "random.ckpt"), max_steps=1).open("cpu")
    # Random weights: only the path from file to energies is meant.
    (found,) = session.relax([rock_salt(5.7, 0.01)])
    assert found.crystal is not None, found.error
    assert found.energy is not None
    assert np.isfinite(found.energy)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@needs_orb
@pytest.mark.skipif(
    importlib.util.find_spec("torch_sim") is None, reason="torch-sim is not installed"
)
def test_batches_agree_with_one_by_one(tmp_path: Path) -> None:
    random_weights(tmp_path / "random.ckpt")
    assert_batches_agree(Orb(weights=str(tmp_path / "random.ckpt"), max_steps=2))
