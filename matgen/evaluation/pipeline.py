"""From samples to a report: relax, prepare references, run the evaluators in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from matgen.errors import BadOptions, PluginProblem
from matgen.evaluation import report_files
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.given_energies import GivenEnergies
from matgen.evaluation.protocol_label import protocol_label, short_name
from matgen.evaluation.reference import Reference
from matgen.evaluation.relaxation_cache import RelaxationCache
from matgen.evaluation.relaxation_log import RelaxationLog
from matgen.evaluation.relaxing import Relaxing
from matgen.evaluation.report import Report
from matgen.evaluation.truth import Truth
from matgen.records import Measurement, Sample
from matgen.roles.component import Component
from matgen.roles.condition import Condition
from matgen.roles.dataset import DatasetSource
from matgen.roles.evaluator import Evaluator, Need
from matgen.roles.executor import Executor
from matgen.roles.hull import Hull, HullReference
from matgen.roles.protocol import EvaluationProtocol
from matgen.roles.relaxer import Relaxer


class Observer(Protocol):
    """Hears how far an evaluation is."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note that ``done`` of ``total`` pieces of a stage are finished."""


def unobserved(stage: str, done: int, total: int) -> None:
    """Take no note."""
    del stage, done, total


@dataclass(frozen=True)
class EvaluationPlan:
    """What to measure, and with what.

    Attributes:
        evaluators: Run once each, in an order that respects ``waits_for``.
        executor: Where relaxations and comparisons run.
        protocol: The way of evaluating that the figures are named after; None for none.
        published_relaxer: The potential of the protocol's published figures, if it has one.
        changed: Evaluators that measure otherwise than the protocol says, and how.
        relaxer: None leaves the samples as they are; what needs energies is skipped.
        given: Relaxed crystals and energies of that potential, made elsewhere: nothing is relaxed.
        hull: Reference on the relaxer's energy scale, or None.
        reference: Known crystals for novelty: a dataset (its train split), or a built reference.
        truth: The crystals that were to be predicted or imitated.
        conditions: What could have been requested, to compare with what was achieved.
        device: Torch device of the potential.
        threads: Torch threads of a potential that runs in this process, 0 for torch's choice;
            in worker processes it is always one.
        relaxation_cache: Folder of relaxations that runs share, or None.
        reference_cache: Folder in which references made of datasets are kept and shared between
            processes, or None.
    """

    evaluators: tuple[Evaluator, ...]
    executor: Executor
    protocol: EvaluationProtocol | None = None
    published_relaxer: Relaxer | None = None
    changed: tuple[str, ...] = ()
    relaxer: Relaxer | None = None
    given: GivenEnergies | None = None
    hull: HullReference | None = None
    reference: DatasetSource | Reference | None = None
    truth: Truth | None = None
    conditions: tuple[Condition, ...] = ()
    device: str = "cpu"
    threads: int = 0
    relaxation_cache: Path | None = None
    reference_cache: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what could only give wrong numbers.

        Raises:
            BadOptions: relaxer and hull are on different energy scales, the hull has no references
                for this potential, or an evaluator or a condition is there twice.
        """
        if self.relaxer and self.hull:
            if not self.hull.takes(self.relaxer.energy_scale):
                raise BadOptions(
                    f"the relaxer {self.relaxer.name} gives energies on the scale "
                    f"{self.relaxer.energy_scale!r}, the hull {self.hull.name} is on "
                    f"{self.hull.energy_scale!r}; choose a pair on one scale"
                )
            if missing := self.hull.lacks(self.relaxer):
                raise BadOptions(missing)
        for names in ([e.name for e in self.evaluators], [c.label for c in self.conditions]):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise BadOptions(f"{', '.join(twice)} is chosen more than once; choose it once")


def evaluate(
    plan: EvaluationPlan,
    samples: Sequence[Sample],
    asked: int,
    folder: Path | None,
    *,
    observer: Observer = unobserved,
) -> Report:
    """Return the report of a plan over samples.

    Args:
        plan: Checked components.
        samples: In the order asked for, failed ones included.
        asked: How many the user asked for: the denominator of every rate.
        folder: Finished relaxations are kept in ``relaxations.jsonl`` there and taken up again
            by the next call; the report is written there. None keeps nothing.
        observer: Told of progress.

    Raises:
        BadOptions: more samples than asked for, or no elemental references for the relaxer.
        MissingDependency: the relaxer's package or weights.
    """
    if asked < len(samples):
        raise BadOptions(f"{len(samples)} samples for {asked} asked for; asked cannot be fewer")
    hull = _opened_hull(plan)
    reference = _built(plan, observer)
    truth = plan.truth.records() if plan.truth else None
    per_truth = plan.truth.samples_each(truth, asked) if plan.truth and truth else 1
    with plan.executor.open() as pool:
        relaxations = None
        if plan.given is not None:
            relaxations = plan.given.relaxations(samples)
        elif plan.relaxer is not None:
            log = None if folder is None else RelaxationLog(folder / "relaxations.jsonl")
            kept = plan.relaxation_cache
            cache = None if kept is None else RelaxationCache(kept)
            relaxing = Relaxing(plan.relaxer, plan.device, plan.threads, cache)
            heard = partial(observer, "relaxation")
            relaxations = relaxing.relaxations(samples, pool, log, heard)
        whole = Cohort(
            samples=samples,
            asked=asked,
            pool=pool,
            relaxations=relaxations,
            hull=hull,
            reference=reference,
            truth=truth,
            per_truth=per_truth,
            conditions={condition.label: condition for condition in plan.conditions},
        )
        measurements = _measure(plan.evaluators, whole, observer)
    report = Report.of(
        plan,
        samples,
        asked,
        measurements,
        relaxations,
        reference,
        protocol=_protocol_run(plan, per_truth),
    )
    if folder is not None:
        report_files.write(report, folder)
    return report


def in_order(evaluators: Sequence[Evaluator]) -> list[Evaluator]:
    """Return the evaluators so that each comes after those whose columns it reads.

    Names waited for that are not among them are left to the evaluator, which says so.

    Raises:
        PluginProblem: they wait for each other in a circle.
    """
    waiting = list(evaluators)
    ordered: list[Evaluator] = []
    while waiting:
        names = {evaluator.name for evaluator in waiting}
        ready = [e for e in waiting if not names.intersection(e.waits_for())]
        if not ready:
            raise PluginProblem(f"the evaluators {', '.join(sorted(names))} wait for each other")
        ordered += ready
        waiting = [e for e in waiting if e not in ready]
    return ordered


def _opened_hull(plan: EvaluationPlan) -> Hull | None:
    if plan.hull is None or plan.relaxer is None:
        return None
    return plan.hull.open(plan.relaxer)


def _built(plan: EvaluationPlan, observer: Observer) -> Reference | None:
    source = plan.reference
    if not isinstance(source, DatasetSource):
        return source
    observer("reference", 0, 1)
    reference = Reference.from_dataset(source, cache=plan.reference_cache)
    observer("reference", 1, 1)
    return reference


def _measure(
    evaluators: Sequence[Evaluator], whole: Cohort, observer: Observer
) -> dict[str, Measurement]:
    met = {
        Need.RELAXED: whole.relaxations is not None,
        Need.HULL: whole.hull is not None,
        Need.REFERENCE: whole.reference is not None,
        Need.TRUTH: whole.truth is not None,
    }
    done: dict[str, Measurement] = {}
    ordered = in_order(evaluators)
    for position, evaluator in enumerate(ordered):
        observer("evaluators", position, len(ordered))
        unmet = [need.value for need in Need if need in evaluator.needs and not met[need]]
        if unmet:
            skipped = f"needs {' and '.join(unmet)}"
            done[evaluator.name] = Measurement(asked=whole.asked, skipped=skipped)
        else:
            done[evaluator.name] = evaluator.measure(replace(whole, done=dict(done)))
    observer("evaluators", len(ordered), len(ordered))
    # In the order chosen, whatever order they ran in.
    return {evaluator.name: done[evaluator.name] for evaluator in evaluators}


def _protocol_run(plan: EvaluationPlan, per_truth: int) -> dict[str, object] | None:
    """Return what a report says of its protocol."""
    protocol = plan.protocol
    if protocol is None:
        return None
    label = protocol_label(
        protocol,
        relaxer=plan.relaxer,
        published_relaxer=plan.published_relaxer,
        hull=plan.hull,
        reference=plan.reference if isinstance(plan.reference, Component) else None,
        truth=plan.truth.name if plan.truth else "",
        per_truth=per_truth,
        changed=plan.changed,
        given=plan.given is not None,
    )
    return {
        "name": protocol.name,
        "label": label,
        "settings": protocol.model_dump(mode="json"),
        "changed": list(plan.changed),
        "published_with": {
            "relaxer": short_name(plan.published_relaxer) if plan.published_relaxer else None,
            "hull": protocol.hull_of_record or None,
            "reference": protocol.reference_of_record or None,
            "truth": list(protocol.truths_of_record),
        },
        "cites": list(protocol.cites),
    }
