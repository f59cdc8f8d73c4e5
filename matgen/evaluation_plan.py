"""From what a person typed to an evaluation: every cross-check, before any heavy work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from matgen.plan_parts import Settings, build_chosen, named_dataset, parse_settings
from matgen.roles.hull import HullReference
from matgen.roles.relaxer import Relaxer

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.evaluation.pipeline import EvaluationPlan
    from matgen.roles.condition import Condition
    from matgen.roles.evaluator import Evaluator
    from matgen.roles.executor import Executor

log = logging.getLogger(__name__)


def resolve_evaluation(
    catalog: Catalog,
    *,
    relaxer: str | None,
    hull: str | None,
    reference: str | None,
    evaluators: Sequence[str],
    settings: Sequence[str],
    workers: int,
    device: str,
) -> EvaluationPlan:
    """Return the evaluation as objects.

    Args:
        hull, reference: A name, ``none``, or None for the default.
        evaluators: Names; empty takes the defaults.
        settings: ``relaxer.SETTING=VALUE`` texts, likewise hull, reference, condition.NAME and
            each evaluator.
        workers: Processes; 1 stays in this process, 0 takes every core.

    Raises:
        UnknownName, BadOptions: one sentence; a hull on another energy scale than the relaxer's.
    """
    from matgen.evaluation.pipeline import EvaluationPlan

    taken = Settings(parse_settings(settings))
    default = catalog.choices.default
    relaxing = (
        build_chosen(catalog, Relaxer, "relaxer", relaxer, taken) if relaxer is not None else None
    )
    wants_hull = relaxing is not None and hull != "none"
    chosen = tuple(
        cast(
            "Evaluator",
            catalog.build("evaluator", name, taken.take(name.partition(":")[2] or name)),
        )
        for name in (evaluators or catalog.choices.default_list("evaluators"))
    )
    against = build_chosen(catalog, HullReference, "hull", hull, taken) if wants_hull else None
    if hull is None and against and relaxing and against.energy_scale != relaxing.energy_scale:
        # Nobody asked for this pair; one that was asked for is refused by the plan.
        log.warning(
            "no energies above the hull: the default hull %s is on the energy scale %s, %s on %s",
            against.name,
            against.energy_scale,
            relaxing.name,
            relaxing.energy_scale,
        )
        against = None
    executor = default("executor") if workers != 1 else "executors:local"
    plan = EvaluationPlan(
        evaluators=chosen,
        executor=cast(
            "Executor",
            catalog.build("executor", executor, {"n_workers": workers} if workers > 1 else {}),
        ),
        relaxer=relaxing,
        hull=against,
        reference=None
        if reference == "none"
        else named_dataset(catalog, reference, taken.take("reference")),
        conditions=_default_conditions(catalog, taken),
        device=device,
    )
    taken.refuse_rest("relaxer, hull, reference, condition.NAME or the name of an evaluator")
    return plan


def _default_conditions(catalog: Catalog, settings: Settings) -> tuple[Condition, ...]:
    """Return every condition that needs no settings: what could have been requested.

    Where several plugins offer one label, the one among the defaults is meant, else none is.
    """
    usual = catalog.choices.default_list("conditions")
    offered: dict[str, list[tuple[str, Condition]]] = {}
    for name in catalog.names("condition"):
        cls = catalog.get("condition", name)
        if not any(field.is_required() for field in cls.model_fields.values()):
            fields = settings.take(f"condition.{name.partition(':')[2]}")
            condition = cast("Condition", catalog.build("condition", name, fields))
            offered.setdefault(condition.label, []).append((name, condition))
    chosen = []
    for claims in offered.values():
        meant = [condition for name, condition in claims if len(claims) == 1 or name in usual]
        chosen += meant if len(meant) == 1 else []
    return tuple(chosen)
