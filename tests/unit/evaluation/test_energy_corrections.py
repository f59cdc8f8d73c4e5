"""Corrections are those of the published evaluator, to the digit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matgen.elements import symbols
from matgen.errors import OutsideHull
from matgen.evaluation.energy_corrections import Scheme, adjustments, corrected, run_of
from matgen.records import Crystal

GOLDEN = Path(__file__).parents[2] / "golden" / "eval" / "energy_corrections.json.gz"
CASES: list[dict[str, Any]] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
SCHEMES: dict[str, Scheme] = {"MP2020": "mp2020", "TRI2024": "tri2024", "none": "none"}


def _crystal(case: dict[str, Any]) -> Crystal:
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    return Crystal(
        np.array(case["lattice"]),
        np.array(case["frac_coords"]),
        np.array([numbers[symbol] for symbol in case["species"]], dtype=np.int64),
    )


def test_the_materials_project_would_have_computed_each_like_this() -> None:
    assert len(CASES) == 260
    for case in CASES:
        run = run_of(_crystal(case))
        expected = case["MP2020"]
        assert run.kind == expected["run_type"], case["id"]
        assert run.hubbards == expected["hubbards"], case["id"]
        assert list(run.potcars) == expected["potcar_symbols"], case["id"]
        assert str(run.oxide) == str(expected["oxide_type"]), case["id"]


@pytest.mark.parametrize("published", list(SCHEMES))
def test_every_term_of_every_scheme_is_the_published_one(published: str) -> None:
    for case in CASES:
        terms = adjustments(_crystal(case), case["energy"], SCHEMES[published])
        expected = case[published]
        told = [[term.name, term.energy_ev] for term in terms]
        assert told == expected["adjustments"], case["id"]
        energy = corrected(_crystal(case), case["energy"], SCHEMES[published])
        # Sums of the same terms in another order.
        assert energy == pytest.approx(expected["corrected_energy"], rel=1e-14), case["id"]


def test_a_supercell_is_corrected_as_often_as_it_holds_the_cell() -> None:
    case = next(case for case in CASES if case["MP2020"]["run_type"] == "GGA+U")
    one = _crystal(case)
    two = Crystal(
        one.lattice * [[2], [1], [1]],
        np.concatenate([one.frac, one.frac + np.array([1, 0, 0])]) / [2, 1, 1],
        np.tile(one.numbers, 2),
    )
    single = sum(term.energy_ev for term in adjustments(one, -10.0, "mp2020"))
    assert sum(term.energy_ev for term in adjustments(two, -20.0, "mp2020")) == pytest.approx(
        2 * single
    )


def test_an_element_without_pseudopotential_has_no_correction() -> None:
    polonium = Crystal(np.eye(3) * 3.3, np.zeros((1, 3)), np.array([84]))
    with pytest.raises(OutsideHull, match="Po"):
        corrected(polonium, -3.0, "mp2020")
