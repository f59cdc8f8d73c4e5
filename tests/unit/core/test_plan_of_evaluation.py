"""What ``matgen evaluate`` compares with when nobody says otherwise."""

from dataclasses import replace
from pathlib import Path

from matgen.catalog import Catalog
from matgen.evaluation.pipeline import EvaluationPlan
from matgen.evaluation_plan import EvaluationRequest, resolve_evaluation


def planned(*settings: str, relaxer: str | None = None) -> EvaluationPlan:
    request = EvaluationRequest(
        relaxer=relaxer,
        reference="none",
        evaluators=("achieved", "stability"),
        settings=settings,
        workers=1,
    )
    return resolve_evaluation(Catalog.load(), request)


def test_every_default_condition_is_compared_with_what_was_achieved() -> None:
    labels = {condition.label for condition in planned().conditions}
    assert {"density", "space_group", "hhi", "chemical_system", "n_sites"} <= labels


def test_a_condition_can_be_given_the_settings_that_the_model_had() -> None:
    [hhi] = [c for c in planned("condition.hhi.table=reserve").conditions if c.label == "hhi"]
    assert hhi.model_dump(exclude_defaults=True) == {"table": "reserve"}


def test_the_default_hull_is_left_out_for_a_potential_on_another_energy_scale() -> None:
    assert planned(relaxer="chgnet").hull is not None
    assert planned(relaxer="mattersim").hull is None


def test_relaxations_are_shared_between_runs_unless_somebody_says_no(tmp_path: Path) -> None:
    catalog = Catalog.load(cache=tmp_path)
    request = EvaluationRequest(reference="none", evaluators=("validity",), workers=1)
    assert resolve_evaluation(catalog, request).relaxation_cache == tmp_path / "relaxations"
    alone = replace(request, cache=False)
    assert resolve_evaluation(catalog, alone).relaxation_cache is None
