"""SevenNet relaxes real crystals with the weights of its wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from matgen.errors import BadFile, MissingDependency
from matgen_relaxers.sevennet import SevenNet
from tests.plugins.relaxers.given import cube_length, hide, rock_salt, silicon

needs_sevenn = pytest.mark.skipif(
    importlib.util.find_spec("sevenn") is None, reason="sevenn is not installed"
)


def test_a_missing_sevenn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "sevenn")
    with pytest.raises(MissingDependency, match=r"pip install matgen\[sevennet\]"):
        SevenNet().open("cpu")


def test_the_energy_scale_is_that_of_the_weights() -> None:
    assert SevenNet().energy_scale == "pbe+u"
    assert SevenNet(model="7net-omat").energy_scale == "omat24"


@pytest.mark.slow
@needs_sevenn
def test_sevennet_finds_the_cells_of_silicon_and_salt(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(SevenNet().open("cpu").relax([silicon(), rock_salt()]))
    assert all(relaxation.converged for relaxation in found)
    # PBE lattice constants: 5.47 Å and 5.69 Å; a potential may miss them by one per cent.
    assert [cube_length(relaxation) for relaxation in found] == pytest.approx(
        [5.47, 5.69], rel=0.01
    )
    # Uncorrected total energies of two atoms in the Materials Project, eV: -10.85 and -6.78.
    assert [relaxation.energy for relaxation in found] == pytest.approx([-10.85, -6.78], abs=0.1)
    assert capsys.readouterr().out == ""


@needs_sevenn
def test_missing_weights_say_which_file_goes_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sevenn.util

    def download_checkpoint(path: str, url: str) -> str:
        raise ConnectionError(url)

    monkeypatch.setattr(sevenn.util, "download_checkpoint", download_checkpoint)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = tmp_path / ".cache/sevennet/SevenNet_omat/checkpoint_sevennet_omat.pth"
    with pytest.raises(MissingDependency, match=str(place)):
        SevenNet(model="7net-omat").open("cpu")
    with pytest.raises(MissingDependency, match=r"mine\.pth do not exist"):
        SevenNet(weights=str(tmp_path / "mine.pth")).open("cpu")
    (tmp_path / "mine.pth").write_text("junk")
    with pytest.raises(BadFile, match="no weights of SevenNet"):
        SevenNet(weights=str(tmp_path / "mine.pth")).open("cpu")


@pytest.mark.slow
@needs_sevenn
def test_a_checkpoint_file_gives_the_energies_of_its_name() -> None:
    from sevenn import _const

    named = SevenNet(max_steps=0)
    filed = SevenNet(max_steps=0, weights=_const.SEVENNET_0_11Jul2024)
    energies = [next(r.open("cpu").relax([silicon()])).energy for r in (named, filed)]
    assert energies[0] == energies[1]
    assert filed.files() == (Path(_const.SEVENNET_0_11Jul2024),)
