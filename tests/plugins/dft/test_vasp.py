"""VASP: inputs of the Materials Project, outputs read by pymatgen; atomate2's flow.

VASP itself is licensed and cannot run here: the outputs are written by hand in its format.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar
from pymatgen.io.vasp.sets import MPRelaxSet

from matgen import Crystal, Outcome, Step
from matgen.errors import MissingDependency
from matgen_dft.atomate2 import Atomate2
from matgen_dft.vasp import Vasp
from tests.plugins.dft.given import iron, silicon

HAS_ATOMATE2 = importlib.util.find_spec("atomate2") is not None


def vasprun(crystal: Crystal, levels: tuple[float, ...], *, converged: bool = True) -> str:
    """Return a vasprun.xml of two electronic steps and one ionic one."""

    def rows(title: str, values: Any) -> str:
        lines = "".join(f"<v> {' '.join(f'{x:.8f}' for x in row)} </v>\n" for row in values)
        return f'<varray name="{title}" >\n{lines}</varray>\n'

    n = crystal.n_sites
    crystal_text = (
        f"<crystal>{rows('basis', crystal.lattice)}<i name='volume'> {crystal.volume} </i>"
        f"{rows('rec_basis', np.linalg.inv(crystal.lattice).T)}</crystal>"
        f"{rows('positions', crystal.frac)}"
    )
    atoms = "".join("<rc><c>Si</c><c>   1</c></rc>" for _ in range(n))
    energies = "".join(
        f"<scstep><energy><i name='e_fr_energy'>{e}</i><i name='e_wo_entrp'>{e}</i>"
        f"<i name='e_0_energy'>{e}</i></energy></scstep>"
        for e in ([-10.0, -10.8] if converged else [-10.0] * 60)
    )
    eigen = "".join(f"<r> {level:.4f} {1.0 if level <= 0 else 0.0:.4f} </r>" for level in levels)
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator><i name="program" type="string">vasp </i><i name="version" type="string">6.3.0</i>
 </generator>
 <incar><i type="string" name="PREC">accurate</i><i type="int" name="ISPIN"> 1</i>
  <i type="int" name="NELM"> 60</i><i type="int" name="NSW"> 0</i></incar>
 <kpoints><generation param="Gamma"><v type="int" name="divisions"> 1 1 1 </v></generation>
  {rows("kpointlist", [[0.0, 0.0, 0.0]])}{rows("weights", [[1.0]])}</kpoints>
 <parameters><separator name="electronic"><i type="int" name="NELM"> 60</i>
  <i type="int" name="ISPIN"> 1</i><i name="NELECT"> 8.0</i></separator>
  <separator name="ionic"><i type="int" name="NSW"> 0</i><i type="int" name="IBRION"> -1</i>
  </separator></parameters>
 <atominfo><atoms> {n} </atoms><types> 1 </types>
  <array name="atoms"><set>{atoms}</set></array>
  <array name="atomtypes"><set><rc><c> {n}</c><c>Si</c><c> 28.085</c><c> 4.0</c>
   <c> PAW_PBE Si 05Jan2001 </c></rc></set></array></atominfo>
 <structure name="initialpos" >{crystal_text}</structure>
 <calculation>{energies}
  <structure>{crystal_text}</structure>
  {rows("forces", np.zeros((n, 3)))}{rows("stress", np.zeros((3, 3)))}
  <energy><i name="e_fr_energy">-10.8</i><i name="e_wo_entrp">-10.8</i>
   <i name="e_0_energy">-10.8</i></energy>
  <dos><i name="efermi"> 0.1 </i></dos>
  <eigenvalues><array><set><set comment="spin 1"><set comment="kpoint 1">{eigen}</set></set></set>
  </array></eigenvalues>
 </calculation>
 <structure name="finalpos" >{crystal_text}</structure>
</modeling>
"""


OUTCAR = """ vasp.6.3.0
   ISPIN  =      2    spin polarized calculation?
 number of electron       8.0000000 magnetization       2.2500000
 General timing and accounting informations for this job:
                  Total CPU time used (sec):        1.000
"""


def finish(folder: Path, crystal: Crystal, **how: Any) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    levels = (-6.0, -2.0, -1.0, -0.4, 0.2, 3.0)
    (folder / "vasprun.xml").write_text(vasprun(crystal, levels, **how))
    (folder / "OUTCAR").write_text(OUTCAR)


def test_inputs_are_those_of_the_materials_project(tmp_path: Path) -> None:
    step = Vasp().advance(iron(), tmp_path)
    assert isinstance(step, Step)
    assert (step.name, step.folder) == ("relax", tmp_path / "relax")
    assert "POTCAR.spec" in step.lacks
    theirs = MPRelaxSet(iron().to_structure())
    written = Incar.from_file(tmp_path / "relax" / "INCAR")
    assert written == theirs.incar
    assert written["MAGMOM"] == [5.0]
    assert Kpoints.from_file(tmp_path / "relax" / "KPOINTS").kpts == theirs.kpoints.kpts
    assert Poscar.from_file(tmp_path / "relax" / "POSCAR").structure.matches(iron().to_structure())
    assert (tmp_path / "relax" / "POTCAR.spec").read_text().split() == ["Fe_pv"]


def test_tags_can_be_replaced(tmp_path: Path) -> None:
    Vasp(incar={"EDIFF": 1e-7}).advance(silicon(), tmp_path)
    assert Incar.from_file(tmp_path / "relax" / "INCAR")["EDIFF"] == 1e-7


def test_the_chain_goes_from_relaxation_to_static_run_to_properties(tmp_path: Path) -> None:
    calculation, small = Vasp(), silicon(3.86)
    calculation.advance(silicon(), tmp_path)
    (tmp_path / "relax" / "POTCAR").write_text("licensed")
    step = calculation.advance(silicon(), tmp_path)
    assert isinstance(step, Step)
    assert step.lacks == ""
    finish(tmp_path / "relax", small)
    step = calculation.advance(silicon(), tmp_path)
    assert isinstance(step, Step)
    assert step.name == "static"
    start = Poscar.from_file(tmp_path / "static" / "POSCAR").structure
    assert start.volume == pytest.approx(small.volume)
    finish(tmp_path / "static", small)
    done = calculation.advance(silicon(), tmp_path)
    assert isinstance(done, Outcome)
    assert done.error == ""
    assert done.properties["band_gap"] == pytest.approx(0.6)
    assert done.properties["magnetic_density"] == pytest.approx(2.25 / small.volume)
    assert done.facts["total_energy_ev"] == pytest.approx(-10.8)


def test_runs_that_were_cut_off_or_did_not_converge(tmp_path: Path) -> None:
    calculation = Vasp()
    calculation.advance(silicon(), tmp_path)
    finish(tmp_path / "relax", silicon(), converged=False)
    failed = calculation.advance(silicon(), tmp_path)
    assert isinstance(failed, Outcome)
    assert failed.error == "relax: the electrons did not converge"
    whole = (tmp_path / "relax" / "vasprun.xml").read_text()
    for share in (0.1, 0.4, 0.8, 0.95):
        (tmp_path / "relax" / "vasprun.xml").write_text(whole[: int(share * len(whole))])
        step = calculation.advance(silicon(), tmp_path)
        assert isinstance(step, Step)
        assert step.name == "relax"


def test_atomate2_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atomate2", None)
    with pytest.raises(MissingDependency, match=r"pip install matgen\[atomate2\]"):
        Atomate2().check()


@pytest.mark.skipif(not HAS_ATOMATE2, reason="atomate2 is not installed")
def test_the_flow_of_atomate2_can_be_loaded_and_its_jobs_are_read(tmp_path: Path) -> None:
    from jobflow import Flow
    from monty.serialization import loadfn

    step = Atomate2().advance(silicon(), tmp_path)
    assert isinstance(step, Step)
    assert "submit" in step.lacks
    flow = loadfn(tmp_path / "flow.json", fmt="json")
    assert isinstance(flow, Flow)
    assert len(flow.jobs) == 2
    json.loads((tmp_path / "flow.json").read_text())


def test_the_job_of_a_flow_that_ended_last_is_read(tmp_path: Path) -> None:
    (tmp_path / "flow.json").write_text("{}")
    finish(tmp_path / "job_1", silicon(3.9))
    finish(tmp_path / "job_2", silicon(3.86))
    last = tmp_path / "job_2" / "vasprun.xml"
    with gzip.open(f"{last}.gz", "wb") as file:
        file.write(last.read_bytes())
    last.unlink()
    done = Atomate2().advance(silicon(), tmp_path)
    assert isinstance(done, Outcome)
    assert done.crystal is not None
    assert done.crystal.volume == pytest.approx(silicon(3.86).volume)
