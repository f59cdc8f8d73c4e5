"""Which pseudopotential is an element's, and what its header says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from matgen.errors import BadCrystal, BadFile, BadOptions
from matgen_dft.pseudopotentials import Cutoffs, Pseudopotential, PseudopotentialFolder
from tests.plugins.dft.given import PSEUDO, header, needs_espresso, old_header


def folder(path: Path, files: dict[str, str], **chosen: str) -> PseudopotentialFolder:
    for name, text in files.items():
        (path / name).write_text(text)
    return PseudopotentialFolder(path, chosen, any_functional=False)


def test_headers_of_both_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "new").write_text(header("Fe", " SLA  PW   PBX  PBC", 16.0, has_so="false"))
    (tmp_path / "old").write_text(old_header("Fe", "SLA  PW   PBE  PBE   PBE", 8.0))
    new, old = Pseudopotential.read(tmp_path / "new"), Pseudopotential.read(tmp_path / "old")
    assert (new.element, new.valence, new.is_pbe, new.spin_orbit) == ("Fe", 16.0, True, False)
    assert (old.element, old.valence, old.is_pbe, old.spin_orbit) == ("Fe", 8.0, True, False)


@pytest.mark.parametrize(
    ("functional", "is_pbe"),
    [("PBE", True), ("SLA PW PBX PBC", True), ("SLA PW PBE PBE", True), ("SLA-PW-PBX-PBC", True),
     ("SLA PZ NOGX NOGC", False), ("PBESOL", False), ("SLA PW PSX PSC", False), ("SLA PW", False)],
)  # fmt: skip
def test_functionals_are_told_apart(functional: str, is_pbe: bool, tmp_path: Path) -> None:
    (tmp_path / "x.upf").write_text(header("Si", functional))
    assert Pseudopotential.read(tmp_path / "x.upf").is_pbe == is_pbe


def test_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    found = folder(
        tmp_path,
        {
            "si_pbe.upf": header("Si"),
            "Si.pz.UPF": header("Si", "SLA PZ NOGX NOGC"),
            "Si.rel-pbe.UPF": old_header("Si", "SLA PW PBE PBE PBE", 4.0, "Fully"),
            "Si.so.UPF": header("Si", has_so="true"),
            "S.pbe.UPF": header("S", valence=6.0),
            "Sb.pbe.UPF": header("Sb", valence=5.0),
        },
    )
    assert found.of(14).path.name == "si_pbe.upf"
    assert found.of(16).path.name == "S.pbe.UPF"


def test_what_is_missing_or_doubtful_is_said_for_the_crystal(tmp_path: Path) -> None:
    files = {"Si.a.upf": header("Si"), "Si.b.upf": header("Si"), "Fe.pz.upf": header("Fe", "PZ")}
    found = folder(tmp_path, files)
    with pytest.raises(BadCrystal, match=r"several pseudopotentials of Si .* Si.a.upf, Si.b.upf"):
        found.of(14)
    with pytest.raises(BadCrystal, match=r"no PBE pseudopotential of Fe .* Fe.pz.upf of other"):
        found.of(26)
    with pytest.raises(BadCrystal, match="no PBE pseudopotential of O"):
        found.of(8)
    assert folder(tmp_path, {}, Si="Si.b.upf").of(14).path.name == "Si.b.upf"
    with pytest.raises(BadCrystal, match="any_functional=true"):
        folder(tmp_path, {}, Fe="Fe.pz.upf").of(26)
    anything = PseudopotentialFolder(tmp_path, {}, any_functional=True)
    assert anything.of(26).path.name == "Fe.pz.upf"
    with pytest.raises(BadOptions, match=r"no pseudopotential Si.c.upf"):
        folder(tmp_path, {}, Si="Si.c.upf")
    with pytest.raises(BadOptions, match="no folder of pseudopotentials"):
        PseudopotentialFolder(tmp_path / "none", {}, any_functional=False)


def test_the_table_of_sssp_chooses_files_and_raises_cutoffs(tmp_path: Path) -> None:
    table = {
        "Si": {"filename": "Si.b.upf", "cutoff_wfc": 30.0, "cutoff_rho": 240.0, "md5": "x"},
        "O": {"filename": "O.upf", "cutoff_wfc": 75.0, "cutoff_rho": 900.0, "md5": "x"},
    }
    files = {"Si.a.upf": header("Si"), "Si.b.upf": header("Si")}
    found = folder(tmp_path, {**files, "SSSP_1.3.0_PBE_efficiency.json": json.dumps(table)})
    assert found.of(14).path.name == "Si.b.upf"
    assert found.cutoffs([14], Cutoffs(60.0, 600.0)) == Cutoffs(60.0, 600.0)
    assert found.cutoffs([14, 8], Cutoffs(60.0, 600.0)) == Cutoffs(75.0, 900.0)
    with pytest.raises(BadCrystal, match=r"O.upf, the pseudopotential of O, is not there"):
        found.of(8)
    (tmp_path / "SSSP_1.3.0_PBE_efficiency.json").write_text("{}[")
    with pytest.raises(BadFile, match="no table of the SSSP library"):
        folder(tmp_path, {})


NONE = [
    "",
    "no header",
    '<PP_HEADER element="Si"/>',
    "<PP_HEADER>\n</PP_HEADER>",
    header("Si", valence=7777.0).replace("7777.0", "many"),
]


@pytest.mark.parametrize("text", NONE)
def test_files_that_are_no_pseudopotentials_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "Si.upf").write_text(text)
    with pytest.raises(BadFile, match=r"Si.upf is no UPF pseudopotential"):
        Pseudopotential.read(tmp_path / "Si.upf")


@needs_espresso
def test_every_pseudopotential_of_debian_can_be_read() -> None:
    found = {path.name: Pseudopotential.read(path) for path in PSEUDO.glob("*.UPF")}
    assert found["Si.pbe-rrkj.UPF"].valence == 4.0
    assert found["Fe.pbe-spn-rrkjus_psl.0.2.1.UPF"].valence == 16.0
    assert not found["Si.pz-vbc.UPF"].is_pbe
    assert found["Si.rel-pbe-rrkj.UPF"].spin_orbit
    assert not found["Fe.pbesol-spn-kjpaw_psl.1.0.0.UPF"].is_pbe
