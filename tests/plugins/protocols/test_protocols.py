"""Every protocol resolves on the command line's way, and says what is not as published."""

from __future__ import annotations

from pathlib import Path

import pytest

from matgen.catalog import Catalog
from matgen.errors import BadOptions, UnknownName
from matgen.evaluation.pipeline import EvaluationPlan
from matgen.evaluation_plan import EvaluationRequest, resolve_evaluation

CATALOG = Catalog.load()


def planned(**asked: object) -> EvaluationPlan:
    return resolve_evaluation(CATALOG, EvaluationRequest(workers=1, **asked))  # type: ignore[arg-type]


def settings_of(plan: EvaluationPlan, name: str) -> dict[str, object]:
    [evaluator] = [evaluator for evaluator in plan.evaluators if evaluator.name == name]
    return evaluator.model_dump(exclude_defaults=True)


def test_the_default_relaxes_nothing_and_measures_what_any_samples_can_be_asked() -> None:
    plan = planned()
    assert plan.protocol is not None
    assert plan.protocol.name == "matgen"
    assert plan.relaxer is None
    assert {"validity", "uniqueness", "novelty", "sun"} <= {e.name for e in plan.evaluators}


def test_a_published_protocol_brings_its_own_potential_and_settings() -> None:
    plan = planned(protocol="materium")
    assert plan.relaxer == plan.published_relaxer
    assert plan.relaxer is not None
    assert plan.relaxer.name == "mattersim"
    assert plan.relaxer.model_dump()["weights"] == "mattersim-v1.0.0-5M"


def test_another_potential_gets_the_relaxation_of_the_protocol() -> None:
    plan = planned(protocol="crystalite", relaxer="chgnet")
    assert plan.relaxer is not None
    assert plan.relaxer.max_steps == 200


def test_the_matcher_of_mattergen_is_a_choice_of_its_protocol() -> None:
    assert settings_of(planned(protocol="mattergen"), "uniqueness") == {"matcher": "disordered"}
    ordered = planned(protocol="mattergen", settings=("protocol.matcher=ordered",))
    assert settings_of(ordered, "uniqueness") == {}
    assert ordered.changed == ()


def test_a_measurement_changed_by_hand_is_noted() -> None:
    plan = planned(protocol="mattergen", settings=("uniqueness.matcher=lemat",))
    assert plan.changed == ("uniqueness(matcher=lemat)",)


def test_named_evaluators_keep_the_settings_of_the_protocol() -> None:
    plan = planned(protocol="mattergen", evaluators=("uniqueness",))
    assert [evaluator.name for evaluator in plan.evaluators] == ["uniqueness"]
    assert settings_of(plan, "uniqueness") == {"matcher": "disordered"}


@pytest.mark.parametrize("protocol", ["csp", "cdvae"])
def test_what_compares_with_true_crystals_asks_for_them(protocol: str) -> None:
    with pytest.raises(BadOptions, match="add --truth FILE"):
        planned(protocol=protocol)


def test_a_truth_is_a_dataset_with_a_split_or_a_file(tmp_path: Path) -> None:
    plan = planned(protocol="csp", truth="mp_le20:val")
    assert plan.truth is not None
    assert (plan.truth.name, plan.truth.splits, plan.truth.predicted) == (
        "mp_le20:val",
        ("val",),
        True,
    )
    file = tmp_path / "true.extxyz"
    file.write_text("")
    plan = planned(protocol="cdvae", truth=str(file))
    assert plan.truth is not None
    assert (plan.truth.name, plan.truth.predicted) == ("true", False)


def test_a_split_that_the_truth_does_not_have_is_refused() -> None:
    with pytest.raises(BadOptions, match="has the splits train, val"):
        planned(protocol="csp", truth="mp_le20:test")


def test_nothing_is_compared_with_known_crystals_where_nobody_needs_them() -> None:
    assert planned(protocol="cdvae", truth="mp_le20:val").reference is None
    assert planned(protocol="mattergen", relaxer="none").reference is not None


def test_an_unknown_protocol_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="mattergen"):
        planned(protocol="matergen")
