"""MatterGen's reference files are read; nothing in them is ever called."""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matgen.errors import BadFile, MissingDependency
from matgen.io.mattergen_reference import is_mattergen_reference, opened, plain_pickle

lmdb = pytest.importorskip("lmdb")


def _entry(formula: str, energy: float) -> dict[str, Any]:
    """Return what MatterGen writes: a computed entry with its structure and corrections."""
    from pymatgen.core.composition import Composition
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    composition = Composition(formula)
    species = [element for element, n in composition.items() for _ in range(int(n))]
    sites = np.linspace(0, 0.5, len(species))[:, None] * np.ones(3)
    entry = ComputedStructureEntry(
        Structure(Lattice.cubic(5.0), species, sites),
        energy,
        parameters={"run_type": "GGA", "hubbards": {}},
        data={"oxidation_states": {"Na": 1, "Cl": -1}},
    )
    terms = MaterialsProject2020Compatibility(check_potcar=False).get_adjustments(entry)
    entry.energy_adjustments += terms
    entry.parameters["energy"] = np.float64(energy)  # numbers of numpy are found in real files
    written: dict[str, Any] = entry.as_dict()
    return written


def _write(path: Path, values: Mapping[str, Any]) -> None:
    environment = lmdb.open(str(path), subdir=False, map_size=1 << 24, lock=False)
    with environment.begin(write=True) as transaction:
        for key, value in values.items():
            packed = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
            transaction.put(key.encode(), packed)
    environment.close()


@pytest.fixture
def values() -> dict[str, Any]:
    return {
        "name": "MP2020correction",
        "Na.Na.0": _entry("Na2", -2.6),
        "Cl.Cl2.0": _entry("Cl2", -3.6),
        "Cl-Na.NaCl.0": _entry("Na1Cl1", -6.778),
        "Cl-Na.NaCl.1": _entry("Na2Cl2", -12.0),
        "chemical_systems": ["Na", "Cl", "Cl-Na"],
        "Na.reduced_formulas": ["Na"],
        "Cl.reduced_formulas": ["Cl2"],
        "Cl-Na.reduced_formulas": ["NaCl"],
        "Na.Na.length": 1,
        "Cl.Cl2.length": 1,
        "Cl-Na.NaCl.length": 2,
    }


@pytest.mark.parametrize("packed", [False, True])
def test_entries_have_their_corrected_energy_per_atom(
    tmp_path: Path, values: dict[str, Any], packed: bool
) -> None:
    path = tmp_path / "reference_MP2020correction"
    _write(path, values)
    if packed:
        whole = path.read_bytes()
        path = path.with_suffix(".gz")
        path.write_bytes(gzip.compress(whole))
    assert is_mattergen_reference(path)
    with opened(path) as reference:
        assert reference.name == "MP2020correction"
        found = {key: (fractions, energy) for key, fractions, energy in reference.energies()}
    fractions, energy = found["Na.Na.0"]
    assert fractions == {"Na": 1.0}
    assert energy == pytest.approx(-1.3)
    fractions, energy = found["Cl-Na.NaCl.0"]
    assert fractions == {"Na": 0.5, "Cl": 0.5}
    # MP2020 adds -0.614 eV for each chloride.
    assert energy == pytest.approx((-6.778 - 0.614) / 2)
    assert found["Cl-Na.NaCl.1"][1] == pytest.approx((-12.0 - 2 * 0.614) / 4)


class _Harmful:
    """What runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def test_a_pickle_that_would_run_something_is_refused_unrun(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    path, trace = tmp_path / "reference", tmp_path / "trace"
    _write(path, {**values, "Cl-Na.NaCl.1": {"energy": _Harmful(trace)}})
    with opened(path) as reference, pytest.raises(BadFile, match="system"):
        list(reference.energies())
    assert not trace.exists()


@pytest.mark.parametrize(
    "value", [np.array([_Harmful(Path("x"))]), np.dtype(object), {1: os.system}]
)
def test_objects_of_any_kind_are_refused(value: object) -> None:
    with pytest.raises(BadFile, match="could run code"):
        plain_pickle(pickle.dumps(value), "here")


def test_numbers_of_numpy_are_numbers() -> None:
    value = {"a": [np.float64(-1.5), np.int64(3), np.float32(0.5), np.bool_(True)]}
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        assert plain_pickle(pickle.dumps(value, protocol), "here") == {"a": [-1.5, 3, 0.5, True]}


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_damaged_pickle_is_a_bad_file(cut: int) -> None:
    with pytest.raises(BadFile, match="damaged"):
        plain_pickle(pickle.dumps({"energy": -1.5, "name": "something"})[:-cut], "here")


def test_a_pointer_says_what_to_run(tmp_path: Path) -> None:
    path = tmp_path / "reference_MP2020correction.gz"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(BadFile, match="git lfs pull"), opened(path):
        pass


def test_other_files_are_none(tmp_path: Path) -> None:
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(b"formula,energy_per_atom\n" * 9))
    assert not is_mattergen_reference(tmp_path / "table.csv.gz")
    (tmp_path / "noise").write_bytes(os.urandom(4096))
    with pytest.raises(BadFile, match="LMDB"), opened(tmp_path / "noise"):
        pass


def test_a_missing_key_is_named(tmp_path: Path, values: dict[str, Any]) -> None:
    del values["Cl-Na.NaCl.length"]
    _write(tmp_path / "reference", values)
    with opened(tmp_path / "reference") as reference, pytest.raises(BadFile, match=r"NaCl\.length"):
        list(reference.energies())


def test_without_lmdb_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingDependency, match="mattergen-reference"), opened(tmp_path / "any"):
        pass
