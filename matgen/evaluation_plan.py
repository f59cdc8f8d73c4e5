"""From what a person typed to an evaluation: every cross-check, before any heavy work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from matgen.errors import BadOptions
from matgen.evaluation.given_energies import GivenEnergies
from matgen.evaluation.protocol_label import short_name
from matgen.evaluation.truth import Truth
from matgen.plan_parts import Settings, build_chosen, named_dataset, parse_settings
from matgen.roles.dataset import DatasetSource, Split
from matgen.roles.evaluator import Need
from matgen.roles.hull import HullReference
from matgen.roles.protocol import EvaluationProtocol
from matgen.roles.relaxer import Relaxer

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.evaluation.pipeline import EvaluationPlan
    from matgen.roles.condition import Condition
    from matgen.roles.evaluator import Evaluator
    from matgen.roles.executor import Executor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationRequest:
    """An evaluation as a person asks for it: names and texts.

    Attributes:
        protocol: A name, or None for the default.
        relaxer: A name, ``none``, or None for the protocol's own.
        energies: File of relaxed crystals or energies made elsewhere, by the potential ``relaxer``.
        hull: A name, a file of reference energies, ``none``, or None for the default.
        reference: A name, ``none``, or None for the default.
        truth: ``DATASET:SPLIT`` or a file: what was to be predicted or imitated.
        per_truth: Predictions for each crystal of the truth; 0 takes what divides evenly.
        evaluators: Only these, in place of all that the protocol measures.
        settings: ``relaxer.SETTING=VALUE`` texts, likewise hull, reference, truth, protocol,
            condition.NAME and each evaluator.
        workers: Processes; 1 stays in this process, 0 takes every core.
        cache: Whether relaxations of earlier runs are taken, and those of this one kept.
        device: Torch device of the potential.
    """

    protocol: str | None = None
    relaxer: str | None = None
    energies: Path | None = None
    hull: str | None = None
    reference: str | None = None
    truth: str | None = None
    per_truth: int = 0
    evaluators: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    workers: int = 0
    cache: bool = True
    device: str = "cpu"


def resolve_evaluation(catalog: Catalog, request: EvaluationRequest) -> EvaluationPlan:
    """Return the evaluation as objects.

    Raises:
        UnknownName, BadOptions: one sentence; a hull on another energy scale than the relaxer's.
    """
    from matgen.evaluation.pipeline import EvaluationPlan

    taken = Settings(parse_settings(request.settings))
    protocol = build_chosen(catalog, EvaluationProtocol, "protocol", request.protocol, taken)
    evaluators = _evaluators(catalog, protocol, request.evaluators, taken)
    needed = frozenset().union(*(evaluator.needs for evaluator in evaluators))
    own = _own_relaxer(catalog, protocol)
    relaxer = _relaxer(catalog, protocol, request.relaxer, taken)
    wants_hull = relaxer is not None and request.hull != "none" and Need.HULL in needed
    hull = _hull(catalog, request.hull, taken) if wants_hull else None
    if request.hull is None and hull and relaxer:
        # Nobody asked for this pair; one that was asked for is refused by the plan.
        missing = hull.lacks(relaxer)
        if not hull.takes(relaxer.energy_scale):
            missing = (
                f"the default hull {hull.name} is on the energy scale {hull.energy_scale}, "
                f"{relaxer.name} on {relaxer.energy_scale}"
            )
        if missing:
            log.warning("no energies above the hull: %s", missing)
            hull = None
    reference = None
    if request.reference != "none" and (request.reference or Need.REFERENCE in needed):
        reference = named_dataset(catalog, request.reference, taken.take("reference"))
    workers = request.workers
    executor = catalog.choices.default("executor") if workers != 1 else "executors:local"
    plan = EvaluationPlan(
        evaluators=evaluators,
        executor=cast(
            "Executor",
            catalog.build("executor", executor, {"n_workers": workers} if workers > 1 else {}),
        ),
        protocol=protocol,
        published_relaxer=own,
        changed=_changed(catalog, protocol, evaluators),
        relaxer=relaxer,
        given=None if request.energies is None else GivenEnergies(request.energies),
        hull=hull,
        reference=reference,
        truth=_truth(catalog, protocol, request, taken),
        conditions=_default_conditions(catalog, taken),
        device=request.device,
        relaxation_cache=catalog.cache / "relaxations" if request.cache and catalog.cache else None,
        reference_cache=None if catalog.cache is None else catalog.cache / "references",
    )
    taken.refuse_rest(
        "protocol, relaxer, hull, reference, truth, condition.NAME or the name of an evaluator"
    )
    return plan


def _evaluators(
    catalog: Catalog, protocol: EvaluationProtocol, names: Sequence[str], settings: Settings
) -> tuple[Evaluator, ...]:
    """Return those named with the protocol's settings, or all of the protocol's."""
    fixed = {chosen.use: chosen.settings for chosen in protocol.measures()}
    uses = [catalog.resolve("evaluator", name) for name in names] or list(fixed)
    built = []
    for use in uses:
        fields = {**fixed.get(use, {}), **settings.take(use.partition(":")[2])}
        built.append(cast("Evaluator", catalog.build("evaluator", use, fields)))
    return tuple(built)


def _changed(
    catalog: Catalog, protocol: EvaluationProtocol, evaluators: Sequence[Evaluator]
) -> tuple[str, ...]:
    """Return the evaluators that measure otherwise than the protocol says, and how."""
    changed = []
    fixed = {chosen.use: chosen.settings for chosen in protocol.measures()}
    for evaluator in evaluators:
        use = catalog.qualified_name(evaluator)
        if use in fixed:
            usual = catalog.get("evaluator", use)(**fixed[use])
            if evaluator != usual:
                changed.append(short_name(evaluator, usual.model_dump()))
    return tuple(changed)


def _own_relaxer(catalog: Catalog, protocol: EvaluationProtocol) -> Relaxer | None:
    """Return the potential of the published figures, None where there is none."""
    if protocol.relaxer is None:
        return None
    settings = {**protocol.relaxation, **protocol.relaxer.settings}
    return cast("Relaxer", catalog.build("relaxer", protocol.relaxer.use, settings))


def _relaxer(
    catalog: Catalog, protocol: EvaluationProtocol, name: str | None, settings: Settings
) -> Relaxer | None:
    own = protocol.relaxer
    chosen = name or (own.use if own else "none")
    if chosen == "none":
        return None
    use = catalog.resolve("relaxer", chosen)
    fixed = dict(protocol.relaxation)
    if own is not None and use == own.use:
        fixed.update(own.settings)
    built = catalog.build("relaxer", use, {**fixed, **settings.take("relaxer")})
    return cast("Relaxer", built)


def _hull(catalog: Catalog, name: str | None, settings: Settings) -> HullReference:
    """Return a hull by name, or the one that reads a file of such energies."""
    if name is None or not (name.endswith(".parquet") or Path(name).is_file()):
        return build_chosen(catalog, HullReference, "hull", name, settings)
    from matgen.io.hull_file import read_hull_file

    totals = read_hull_file(Path(name).expanduser()).kind == "total"
    chosen = catalog.choices.default("hull_file") if totals else None
    return build_chosen(catalog, HullReference, "hull", chosen, settings, {"path": name})


def _truth(
    catalog: Catalog, protocol: EvaluationProtocol, request: EvaluationRequest, settings: Settings
) -> Truth | None:
    text = request.truth
    if text is None:
        if protocol.wants_truth:
            raise BadOptions(
                f"protocol {protocol.name} compares with true crystals: add --truth FILE, or "
                "--truth DATASET:SPLIT such as mp_20:test"
            )
        return None
    name, colon, split = text.rpartition(":")
    if not colon or split not in get_args(Split):
        name, split = text, ""
    fields = settings.take("truth")
    if Path(name).is_file():
        # Nothing is held out of a file of truths: all of it, in its order.
        fields = {"val_fraction": 0.0, **fields}
    source = named_dataset(catalog, name, fields)
    if split and split not in source.splits:
        known = ", ".join(source.splits)
        raise BadOptions(f"--truth {text}: {source.name} has the splits {known}")
    return Truth(
        source=source,
        splits=(split,) if split else source.splits,
        name=f"{_short_source(source, name)}:{split}" if split else _short_source(source, name),
        predicted=protocol.predicts,
        per_truth=request.per_truth,
    )


def _short_source(source: DatasetSource, typed: str) -> str:
    """Return the name of a dataset, or that of the file it was read from."""
    return source.name if not Path(typed).exists() else Path(typed).stem


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
