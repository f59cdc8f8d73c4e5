"""Several datasets as one: nothing leaks between the parts, every label keeps its source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from matgen import Crystal, Record
from matgen.catalog import Catalog
from matgen.crystal.composition import reduced_formula
from matgen.errors import BadOptions
from matgen.plan import TrainConfig, resolve_training
from matgen.plan_parts import resolve_dataset
from matgen.records import LabelSource
from matgen_datasets.files import Files
from matgen_datasets.jarvis import Jarvis
from matgen_datasets.mixed import Mixed
from matgen_datasets.mp_le20 import MpLe20
from matgen_toy.textbook import Textbook
from tests.unit.data.listed import Listed, supercell

CATALOG = Catalog.load()
GAP = {"measured_in": {"gap": "eV"}}


class Other(Listed):
    """Another listed dataset, under a name of its own."""

    name = "other"


def cube(number: int, length: float = 3.0) -> Crystal:
    return Crystal(length * np.eye(3), np.zeros((1, 3)), np.array([number]))


def ids(mixed: Mixed, split: Any) -> list[str]:
    return [record.id for record in mixed.records(split)]


@pytest.fixture(scope="module")
def bundled() -> dict[str, list[Record]]:
    mixed = Mixed(parts=(MpLe20(), Jarvis()))
    return {split: list(mixed.records(split)) for split in mixed.splits}


def test_what_another_part_holds_out_is_not_trained_on() -> None:
    copper = supercell(cube(29), np.diag([2, 1, 1]))
    ours = Listed(rows=(("train", Record("a", cube(29))), ("train", Record("b", cube(47)))))
    theirs = Other(rows=(("val", Record("c", copper)), ("train", Record("d", cube(79)))))
    mixed = Mixed(parts=(ours, theirs))
    assert ids(mixed, "train") == ["b", "d"]
    assert ids(mixed, "val") == ["c"]


def test_validation_leaves_out_what_another_part_tests_on_but_not_the_reverse() -> None:
    ours = Listed(rows=(("val", Record("a", cube(29))), ("val", Record("b", cube(47)))))
    theirs = Other(rows=(("test", Record("c", cube(29))), ("train", Record("d", cube(47)))))
    mixed = Mixed(parts=(ours, theirs))
    assert (ids(mixed, "train"), ids(mixed, "val"), ids(mixed, "test")) == ([], ["b"], ["c"])


def test_a_part_is_not_checked_against_itself() -> None:
    same = (("train", Record("a", cube(29))), ("val", Record("b", cube(29))))
    mixed = Mixed(parts=(Listed(rows=same), Other(rows=(("train", Record("c", cube(47))),))))
    assert ids(mixed, "train") == ["a", "c"]


def test_only_ids_that_clash_get_the_name_of_their_part() -> None:
    ours = Listed(rows=(("train", Record("1", cube(29))), ("train", Record("2", cube(47)))))
    theirs = Other(rows=(("val", Record("1", cube(79))), ("train", Record("3", cube(13)))))
    mixed = Mixed(parts=(ours, theirs))
    assert ids(mixed, "train") == ["listed:1", "2", "3"]
    assert ids(mixed, "val") == ["other:1"]


def test_every_value_says_which_source_it_is_from() -> None:
    two = (LabelSource("pbe", "PBE"), LabelSource("hse", "HSE06"))
    ours = Listed(
        rows=(
            ("train", Record("a", cube(29), {"gap": 1.0}, {"gap": "hse"})),
            ("train", Record("b", cube(47), {"gap": 2.0}, {"gap": "pbe"})),
        ),
        sourced={"gap": two},
        **GAP,
    )
    theirs = Other(rows=(("train", Record("c", cube(79), {"gap": 3.0})),), **GAP)
    mixed = Mixed(parts=(ours, theirs))
    assert mixed.label_sources["gap"] == (*two, LabelSource("other"))
    assert [r.sources["gap"] for r in mixed.records("train")] == ["hse", "pbe", "other"]


def test_one_source_in_two_parts_is_one_source() -> None:
    same = {"gap": (LabelSource("mp", "PBE"),)}
    mixed = Mixed(parts=(Listed(rows=(), sourced=same, **GAP), Other(rows=(), sourced=same, **GAP)))
    assert mixed.label_sources["gap"] == (LabelSource("mp", "PBE"),)


def test_sources_called_alike_with_other_functionals_stay_two() -> None:
    parts = (
        Listed(rows=(), sourced={"gap": (LabelSource("mp", "PBE"),)}, **GAP),
        Other(rows=(), sourced={"gap": (LabelSource("mp", "r2SCAN"),)}, **GAP),
    )
    names = [source.name for source in Mixed(parts=parts).label_sources["gap"]]
    assert names == ["listed:mp", "other:mp"]


def test_parts_of_one_name_are_numbered() -> None:
    parts = [Listed(rows=(("train", Record("x", cube(z), {"gap": 1.0})),), **GAP) for z in (29, 47)]
    mixed = Mixed(parts=tuple(parts))
    assert [s.name for s in mixed.label_sources["gap"]] == ["listed-1", "listed-2"]
    assert ids(mixed, "train") == ["listed-1:x", "listed-2:x"]


def test_one_property_in_two_units_is_refused() -> None:
    with pytest.raises(BadOptions, match="listed gives 'gap' in 'eV', other in 'meV'"):
        Mixed(parts=(Listed(rows=(), **GAP), Other(rows=(), measured_in={"gap": "meV"})))


def test_a_dataset_is_not_mixed_with_itself() -> None:
    with pytest.raises(BadOptions, match="with itself"):
        resolve_dataset(CATALOG, "mp_le20+jarvis+mp_le20")


def test_names_and_paths_are_joined_by_a_plus_and_an_existing_file_comes_first(
    tmp_path: Any,
) -> None:
    folder = tmp_path / "a+b"
    folder.mkdir()
    joined = resolve_dataset(CATALOG, f"textbook+{tmp_path}")
    assert isinstance(joined, Mixed)
    assert [type(part) for part in joined.parts] == [Textbook, Files]
    assert isinstance(resolve_dataset(CATALOG, str(folder)), Files)


def test_a_mixture_is_saved_and_restored_with_its_parts() -> None:
    mixed = Mixed(parts=(MpLe20(rows="all"), Jarvis()))
    assert CATALOG.restore(CATALOG.dump(mixed)) == mixed
    assert CATALOG.restore(CATALOG.dump(mixed)).fingerprint() == mixed.fingerprint()
    assert mixed.fingerprint() != Mixed(parts=(MpLe20(), Jarvis())).fingerprint()


def test_parts_choose_their_rows_for_the_conditions() -> None:
    asked = Mixed(parts=(MpLe20(), Jarvis())).for_conditions(frozenset({"energy_above_hull"}))
    assert next(part for part in asked.parts if isinstance(part, MpLe20)).rows == "all"


def test_mp_le20_and_jarvis_mixed_share_no_material_between_training_and_validation(
    bundled: dict[str, list[Record]],
) -> None:
    from matgen.crystal.symmetry import space_group

    formulas = {reduced_formula(r.crystal) for r in bundled["val"]}
    assert len({r.id for records in bundled.values() for r in records}) == sum(
        map(len, bundled.values())
    )
    of_mp = [r for r in bundled["val"] if "mp_le20" in r.sources.values()]
    of_jarvis = [r for r in bundled["val"] if "jarvis" in r.sources.values()]
    assert len(of_mp) + len(of_jarvis) == len(bundled["val"])
    candidates = [r for r in bundled["train"] if reduced_formula(r.crystal) in formulas][::10]
    assert len(candidates) > 100
    for symprec in (0.01, 0.1):
        held = {
            name: {
                (reduced_formula(r.crystal), space_group(r.crystal, symprec=symprec)) for r in part
            }
            for name, part in (("jarvis", of_mp), ("mp_le20", of_jarvis))
        }
        for record in candidates:
            (source,) = set(record.sources.values())
            key = (reduced_formula(record.crystal), space_group(record.crystal, symprec=symprec))
            assert key not in held[source], record.id


def test_every_gap_of_the_bundled_mixture_is_of_one_functional(
    bundled: dict[str, list[Record]],
) -> None:
    mixed = Mixed(parts=(MpLe20(), Jarvis()))
    assert [str(s) for s in mixed.label_sources["band_gap"]] == [
        "mp_le20 (PBE, PBE+U)",
        "jarvis (OptB88vdW)",
    ]
    for record in bundled["train"]:
        assert set(record.sources) == set(record.properties)
        source = "jarvis" if record.id.startswith("JVASP") else "mp_le20"
        assert set(record.sources.values()) == {source}


def test_a_mixture_resolves_for_training() -> None:
    config = TrainConfig(
        dataset="mp_le20+jarvis",
        conditions=("band_gap",),
        settings={"condition.band_gap.sources": ["mp_le20"]},
    )
    plan = resolve_training(config, CATALOG, gpu=False)
    assert plan.dataset == Mixed(parts=(MpLe20(), Jarvis()))
    assert plan.spec.conditions[0].sources == ("mp_le20",)
