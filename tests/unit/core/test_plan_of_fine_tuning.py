"""What a run that starts from another takes from it, and what it may not change."""

from pathlib import Path
from typing import Any

import pytest

from matgen.asking import outside_training
from matgen.catalog import Catalog
from matgen.errors import BadFile, BadOptions, UnknownName
from matgen.model_spec import ModelSpec
from matgen.plan import TrainConfig, TrainPlan, resolve_training
from matgen.plan_parts import parse_settings
from matgen.run_dir import Run, describe_run, load_run, save_run
from matgen_datasets.files import Files
from matgen_datasets.mp_le20 import MpLe20
from matgen_materium.atoms import Atoms
from matgen_materium.conditions import BandGap, Column, Density, MagneticDensity
from matgen_materium.llama import Llama
from matgen_materium.orderings import High, Xyz
from matgen_toy.asking import Spacing
from matgen_toy.cubic import Cubic
from matgen_toy.one_block import OneBlock
from matgen_toy.textbook import Textbook

CATALOG = Catalog.load()
GAP = BandGap(softening=0.5, sources=("mp",))
DIELECTRIC = Column(title="dielectric", measure="1", centre=9.0, scale=2.0)
SPEC = ModelSpec(
    Atoms(max_sites=12, inner="coordinates_first"),
    Xyz(),
    Llama(
        layers=4,
        heads=4,
        width=128,
        ffn_width=384,
        dropout=0.3,
        token_features=True,
        learned_positions=True,
    ),
    (GAP, Density(), DIELECTRIC),
)
"""Nothing in it is as it would be by default; its network has the sizes of the preset tiny."""
CELLS = Path(__file__).parents[3] / "plugins/matgen_datasets/data/mp_le20.parquet"


@pytest.fixture
def base(tmp_path: Path) -> str:
    """A run directory without weights: plans do not read them."""
    data = {"train": {"range": {}, "known": {"density": 3, "dielectric": 0}}}
    dataset = Files(path=str(CELLS), column_units={"band_gap": "eV"})
    save_run(tmp_path / "base", describe_run(CATALOG, SPEC, dataset, {}, data), SPEC)
    return str(tmp_path / "base")


def planned(base: str, *settings: str, **config: Any) -> TrainPlan:
    asked = TrainConfig(from_=base, settings=parse_settings(settings), **config)
    return resolve_training(asked, CATALOG, gpu=False)


def test_what_is_not_named_comes_from_the_run(base: str) -> None:
    plan = planned(base)
    assert plan.spec == SPEC
    assert isinstance(plan.dataset, Files)
    assert plan.dataset.column_units == {"band_gap": "eV"}
    assert plan.base is not None
    assert plan.base.name == base


def test_a_component_named_as_it_was_keeps_its_settings(base: str) -> None:
    named = {"representation": "atoms", "ordering": "xyz", "backbone": "materium:llama"}
    assert planned(base, **named).spec == SPEC


def test_single_settings_are_changed_and_the_others_stay(base: str) -> None:
    spec = planned(base, "representation.max_sites=14", "backbone.dropout=0.2").spec
    assert spec.representation == SPEC.representation.model_copy(update={"max_sites": 14})
    assert spec.backbone == SPEC.backbone.model_copy(update={"dropout": 0.2})


def test_another_ordering_or_representation_is_as_it_is_by_default(base: str) -> None:
    spec = planned(base, representation="cubic", ordering="high").spec
    assert (spec.representation, spec.ordering) == (Cubic(), High())


def test_registered_options_do_not_reach_what_comes_from_the_run(base: str, tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text('[options."materium:llama"]\ndropout = 0.7\n')
    catalog = Catalog.load(tmp_path / "registry.toml")
    plan = resolve_training(TrainConfig(from_=base), catalog, gpu=False)
    assert plan.spec.backbone == SPEC.backbone


@pytest.mark.parametrize(
    ("settings", "config", "told"),
    [
        (["backbone.layers=6"], {}, r"backbone\.layers = 4, not 6, .*dropout can change"),
        (["backbone.rope_base=1e5"], {}, r"backbone\.rope_base = 10000\.0, not 100000"),
        ([], {"preset": "small"}, r"backbone\.\w+ = \d+, not \d+"),
        ([], {"backbone": "one_block"}, r"with the backbone materium:llama, .* leave --backbone"),
        (["backbone.depth=6"], {}, "has no setting 'depth'"),
        (["condition.band_gap.softening=0.1"], {}, r"with softening = 0\.5; with 0\.1 its values"),
        (["condition.dielectric.centre=0"], {}, r"with centre = 9\.0; with 0 its values"),
        ([], {"columns": ("dielectric:eV",)}, r"'dielectric' already: materium:column in '1', not"),
        ([], {"columns": ("density:g/cm3",)}, r"'density' already: materium:density"),
        (["condition.hhi.table='reserve'"], {}, "no such component"),
    ],
)
def test_what_would_make_the_weights_mean_something_else_is_refused(
    base: str, settings: list[str], config: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadOptions, match=told) as error:
        planned(base, *settings, **config)
    assert "\n" not in str(error.value)


def test_a_preset_is_fine_if_it_is_what_the_run_has(base: str) -> None:
    assert planned(base, preset="tiny").spec == SPEC


def test_settings_that_choose_among_data_can_change(base: str) -> None:
    spec = planned(base, "condition.band_gap.sources=['files']", "dataset.val_fraction=0.3").spec
    assert spec.conditions[0] == GAP.model_copy(update={"sources": ("files",)})


def test_further_conditions_come_after_those_of_the_run(base: str) -> None:
    plan = planned(base, conditions=("density", "magnetic_density"), columns=("hardness:GPa",))
    assert plan.spec.conditions[:3] == SPEC.conditions
    assert [condition.label for condition in plan.spec.conditions[3:]] == [
        "magnetic_density",
        "hardness",
    ]
    assert plan.spec.conditions[3] == MagneticDensity()
    assert isinstance(plan.dataset, Files)
    assert plan.dataset.column_units == {"band_gap": "eV", "hardness": "GPa"}


def test_only_conditions_that_nobody_asked_for_may_lack_their_column(base: str) -> None:
    assert planned(base, dataset="textbook").optional == {"band_gap", "density", "dielectric"}
    asked = planned(base, dataset="textbook", conditions=("band_gap", "hhi"))
    assert asked.optional == {"density", "dielectric"}
    assert planned(base, columns=("dielectric:1",)).optional == {"band_gap", "density"}


def test_a_run_that_starts_from_nothing_has_no_optional_conditions() -> None:
    plan = resolve_training(TrainConfig(dataset="textbook"), CATALOG, gpu=False)
    assert (plan.base, plan.optional) == (None, frozenset())


def test_a_known_column_is_fed_by_naming_its_unit_again(base: str) -> None:
    plan = planned(base, dataset=str(CELLS), columns=("dielectric:1",))
    assert plan.spec.conditions == SPEC.conditions
    assert plan.dataset.units == {"dielectric": "1"}


def test_the_shipped_model_is_called_default() -> None:
    plan = planned("default", conditions=("magnetic_density",), dataset="textbook")
    assert plan.base is not None
    assert plan.base.name == "default"
    assert [c.label for c in plan.spec.conditions][-2:] == ["n_sites", "magnetic_density"]
    assert isinstance(planned("default").dataset, MpLe20)


def test_a_backbone_that_declares_nothing_free_changes_in_nothing(tmp_path: Path) -> None:
    spec = ModelSpec(Cubic(), High(), OneBlock(), (Spacing(),))
    info = describe_run(CATALOG, spec, Textbook(), {}, {"train": {}})
    save_run(tmp_path / "toy", info, spec)
    with pytest.raises(BadOptions, match=r"none of its settings can change"):
        planned(str(tmp_path / "toy"), "backbone.components=4")


def test_a_folder_that_is_no_run_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="is no run directory"):
        planned(str(tmp_path))


def test_a_run_toml_says_where_it_starts_from(base: str, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'from = "{base}"\nconditions = ["hhi"]\n')
    plan = resolve_training(TrainConfig.from_toml(file), CATALOG, gpu=False)
    assert [c.label for c in plan.spec.conditions] == ["band_gap", "density", "dielectric", "hhi"]
    file.write_text("form = 'x'\n")
    with pytest.raises(BadOptions, match=r"keys: from, dataset"):
        TrainConfig.from_toml(file)


def test_an_unknown_condition_is_suggested(base: str) -> None:
    with pytest.raises(UnknownName, match="did you mean 'density'"):
        planned(base, conditions=("densiti",))


def test_asking_for_what_the_data_did_not_have_is_remarked(base: str) -> None:
    run = load_run(Path(base), CATALOG)
    assert outside_training([{"density": 3.0}, {}], run) == []
    [remark] = outside_training([{"dielectric": 3.0, "density": 3.0}], run)
    assert remark.endswith("has a known dielectric; it has not learned it")
    tuned = Run(run.folder, run.spec, {**run.info, "from": {"run": "runs/old"}})
    [remark] = outside_training([{"dielectric": 3.0}, {"dielectric": 4.0}], tuned)
    assert remark.endswith("what it learned of it is from runs/old")
