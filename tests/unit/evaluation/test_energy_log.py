"""Energies on disk are not computed twice, and never taken for those of another potential."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from matgen.errors import BadFile
from matgen.evaluation.energy_log import EnergyLog, energies, potential_of
from matgen.records import Crystal, Relaxation
from matgen.roles.relaxer import Relaxer, RelaxerSession


class _Counting(Relaxer):
    """Minus one eV a site; nan for iron."""

    name = "counting"
    energy_scale = "toy"

    def open(self, device: str) -> RelaxerSession:
        del device
        return _Session()


class _Session(RelaxerSession):
    def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        for crystal in crystals:
            energy = float("nan") if 26 in crystal.numbers else -1.0 * crystal.n_sites
            yield Relaxation(crystal, energy=energy, converged=True, n_steps=3)


class _NeverOpened(_Counting):
    def open(self, device: str) -> RelaxerSession:
        raise AssertionError(device)


def _cells(*numbers: int) -> list[Crystal]:
    return [Crystal(np.eye(3) * 3, np.zeros((1, 3)), np.array([number])) for number in numbers]


def _log(path: Path, **settings: float) -> EnergyLog:
    return EnergyLog(path, potential_of(_Counting(**settings)))


def test_what_is_in_the_log_needs_no_potential(tmp_path: Path) -> None:
    crystals = _cells(3, 26, 11)
    log = _log(tmp_path / "log.jsonl")
    first = list(energies(crystals, _Counting(), device="cpu", log=log))
    assert [found.energy_ev for found in first] == [-1.0, None, -1.0]
    assert "finite" in first[1].error
    again = _log(tmp_path / "log.jsonl")
    assert list(energies(crystals, _NeverOpened(), device="cpu", log=again)) == first


def test_a_line_cut_off_by_a_crash_is_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    list(energies(_cells(3, 11), _Counting(), device="cpu", log=_log(path)))
    path.write_text(path.read_text()[:-9])
    log = _log(path)
    assert len(log.known) == 1
    list(energies(_cells(3, 11), _Counting(), device="cpu", log=log))
    assert len(_log(path).known) == 2


def test_energies_of_other_settings_are_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    list(energies(_cells(3), _Counting(), device="cpu", log=_log(path)))
    with pytest.raises(BadFile, match="settings"):
        _log(path, max_steps=7)


def test_a_damaged_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    list(energies(_cells(3, 11), _Counting(), device="cpu", log=_log(path)))
    first, second, third = path.read_text().splitlines()
    path.write_text("\n".join([first, second[:-5], third, ""]))
    with pytest.raises(BadFile, match="line 2"):
        _log(path)


def test_the_file_names_the_potential(tmp_path: Path) -> None:
    _log(tmp_path / "log.jsonl")
    assert '"relaxer": "counting"' in (tmp_path / "log.jsonl").read_text()


def test_another_file_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\nworld\n")
    with pytest.raises(BadFile, match="no log"):
        _log(tmp_path / "notes.txt")
