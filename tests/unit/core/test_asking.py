"""Requests, ranges, tables, weights and rules, from what a person wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matgen.asking import (
    checked_request,
    outside_training,
    parse_constraints,
    parse_guidance,
    parse_requests,
    read_requests,
    with_rules,
)
from matgen.catalog import Catalog
from matgen.data.sketch import LEVELS
from matgen.errors import BadFile, BadOptions, UnknownName
from matgen.records import ValueRange
from matgen.run_dir import Run, load_run, shipped_model

CATALOG = Catalog.load()
RUN = load_run(shipped_model(), CATALOG)
KNOWN = RUN.spec.conditions
RULES = parse_constraints(["formula=Li2Fe2O4", "charge_neutral"], CATALOG, RUN)
ALIASES = CATALOG.choices.file.aliases["condition"]


def test_a_range_is_one_point_of_a_grid_and_a_list_several() -> None:
    grid = parse_requests(["density=3..5", "spacegroup=225,194"], KNOWN, ALIASES)
    spread = ValueRange(3.0, 5.0)
    assert grid == [
        {"density": spread, "space_group": 225.0},
        {"density": spread, "space_group": 194.0},
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("density=5..3", "from the lower to the higher"),
        ("density=3..400", "outside 0.01 to 30"),
        ("formula=LiFeO2..LiF", "only numbers have a range"),
        ("density=3..", "not a number"),
    ],
)
def test_a_range_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadOptions, match=said):
        parse_requests([text], KNOWN, ALIASES)


@pytest.mark.parametrize("label", ["n_sites", "space_group"])
def test_whole_numbers_stay_whole_in_a_range(label: str) -> None:
    condition = {c.label: c for c in KNOWN}[label]
    found = {condition.between(3.0, 5.0, u / 99 + 1e-6) for u in range(99)}
    assert found == {3.0, 4.0, 5.0}


def test_a_table_is_a_request_per_row_and_an_empty_cell_is_free(tmp_path: Path) -> None:
    table = tmp_path / "asked.csv"
    table.write_text("density, spacegroup\n4,225\n\n,194\n3..4\n", encoding="utf-8")
    assert read_requests(table, KNOWN, ALIASES) == [
        {"density": 4.0, "space_group": 225.0},
        {"space_group": 194.0},
        {"density": ValueRange(3.0, 4.0)},
    ]


@pytest.mark.parametrize(
    ("written", "error", "said"),
    [
        ("density\n", BadFile, "a line per request"),
        ("density,hardness\n3,4\n", UnknownName, "hardness"),
        ("density\n3\nheavy\n", BadOptions, "line 3: density='heavy' is not a number"),
        ("density\n3,4\n", BadFile, "line 2: 2 cells for 1"),
        ("density;hhi\n3;4\n", UnknownName, "line 1: .*separated by commas"),
        ("density,density\n3,4\n", BadFile, "twice"),
    ],
)
def test_a_bad_table_is_refused_with_the_line(
    tmp_path: Path, written: str, error: type[Exception], said: str
) -> None:
    table = tmp_path / "asked.csv"
    table.write_text(written, encoding="utf-8")
    with pytest.raises(error, match=said):
        read_requests(table, KNOWN, ALIASES)
    with pytest.raises(BadFile, match="cannot read"):
        read_requests(tmp_path / "none.csv", KNOWN, ALIASES)


def test_guidance_has_one_weight_for_all_and_others_by_name() -> None:
    assert parse_guidance([], KNOWN, ALIASES) is None
    assert parse_guidance(["1.5", "bandgap=3"], KNOWN, ALIASES) == {"": 1.5, "band_gap": 3.0}
    with pytest.raises(BadOptions, match=r"write 1\.5, or band_gap=3"):
        parse_guidance(["much"], KNOWN, ALIASES)
    with pytest.raises(UnknownName, match="hardness"):
        parse_guidance(["hardness=2"], KNOWN, ALIASES)


def test_rules_are_read_by_name_and_know_the_training_data() -> None:
    formula, unseen = parse_constraints(["formula=LiFeO2", "unseen_formulas="], CATALOG, RUN)
    assert formula.name == "formula"
    assert unseen.model_dump()["dataset"] is not None
    with pytest.raises(UnknownName, match="colour"):
        parse_constraints(["colour=red"], CATALOG, RUN)


def test_what_a_rule_demands_is_asked_for_as_well() -> None:
    asked = with_rules([{"density": 4.0}], RULES, KNOWN)
    assert asked == [{"density": 4.0, "reduced_formula": "LiFeO2"}]
    with pytest.raises(BadOptions, match="the rule is"):
        with_rules([{"reduced_formula": "LiF"}], RULES, KNOWN)


def test_a_number_of_sites_against_another_is_refused_and_a_range_asks_for_nothing() -> None:
    one = parse_constraints(["n_sites=4"], CATALOG, RUN)
    with pytest.raises(BadOptions, match=r"n_sites=8\.0 is asked for"):
        with_rules([{"n_sites": 8.0}], one, KNOWN)
    several = parse_constraints(["n_sites=4..8"], CATALOG, RUN)
    assert with_rules([{"n_sites": 8.0}], several, KNOWN) == [{"n_sites": 8.0}]


def test_empty_cells_that_a_spreadsheet_leaves_at_the_end_are_no_conditions(tmp_path: Path) -> None:
    table = tmp_path / "asked.csv"
    table.write_text("density,\n3,\n", encoding="utf-8")
    assert read_requests(table, KNOWN, ALIASES) == [{"density": 3.0}]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"space_group": 300}, "give 1 to 230"),
        ({"space_group": ValueRange(200, 300)}, "give 1 to 230"),
        ({"band_gap": float("nan")}, "no finite number"),
        ({"band_gap": "abc"}, "not a number"),
        ({"band_gap": ValueRange(3, 1)}, "from the lower to the higher"),
        ({"band_gap": (1, 2)}, "is no value"),
        ({"band_gap": None}, "is no value"),
        ({"band_gap": True}, "is no value"),
        ({"reduced_formula": "NaCl", "n_sites": 3}, "exclude each other"),
    ],
)
def test_what_a_program_asks_for_meets_the_checks_of_a_person(
    asked: dict[str, object], said: str
) -> None:
    with pytest.raises(BadOptions, match=said):
        checked_request(asked, KNOWN)


def test_numbers_of_any_library_are_plain_numbers() -> None:
    asked = checked_request(
        {"density": np.float32(4.5), "n_sites": np.int64(8), "hhi": ValueRange(1, 2)}, KNOWN
    )
    assert asked == {"density": 4.5, "n_sites": 8.0, "hhi": ValueRange(1.0, 2.0)}
    assert all(type(value) in {float, ValueRange} for value in asked.values())


def test_where_hardly_any_crystal_was_the_model_is_said_to_miss() -> None:
    train = dict(RUN.info["data"]["train"])
    quantiles = np.quantile([*np.linspace(1.0, 9.0, 5_000).tolist(), 19.0], LEVELS).tolist()
    told = {"quantiles": {"density": quantiles}, "range": {"density": [1, 19]}}
    info = {**RUN.info, "data": {"train": {**train, **told, "known": {"density": 5_001}}}}
    run = Run(RUN.folder, RUN.spec, info)
    assert outside_training([{"density": 5.0}, {"density": ValueRange(2.0, 8.0)}], run) == []
    [remark] = outside_training([{"density": 15.0}], run)
    assert remark.startswith("density=15: about 0 of 5,001 training crystals are within 0.2 of")
    [remark] = outside_training([{"density": 25.0}], run)
    assert "outside the training data" in remark


@pytest.mark.parametrize(
    ("rules", "density", "said"),
    [
        (["cell=4,4,4,90,90,90", "formula=NaCl", "n_sites=2"], 3.0, "1 NaCl in a cell of 64.0"),
        (["cell=4,4,4,90,90,90", "formula=NaCl"], 2.0, "have 1.52 g/cm3, not 2"),
        (["cell=4,4,4,90,90,90", "formula=NaCl", "n_sites=4"], 1.516, "2 NaCl in a cell"),
    ],
)
def test_a_density_that_cell_and_formula_exclude_is_refused(
    rules: list[str], density: float, said: str
) -> None:
    bound = parse_constraints(rules, CATALOG, RUN)
    with pytest.raises(BadOptions, match=said):
        with_rules([{"density": density}], bound, KNOWN)


@pytest.mark.parametrize("rules", [["n_sites=2"], ["n_sites=4"], []])
def test_a_density_that_cell_and_formula_have_is_taken(rules: list[str]) -> None:
    rules = ["cell=4,4,4,90,90,90", "formula=NaCl", *rules]
    density = 3.033 if "n_sites=4" in rules else 1.516
    bound = parse_constraints(rules, CATALOG, RUN)
    [request] = with_rules([{"density": density}], bound, KNOWN)
    assert request["density"] == density
    # Without a formula any density may be met.
    with_rules([{"density": 29.0}], parse_constraints(rules[:1], CATALOG, RUN), KNOWN)
