"""Checks of what lies around the model, from datasets to rewards."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, cast

import numpy as np

from matgen.crystal.composition import parse_formula
from matgen.elements import symbols
from matgen.errors import BadFile, MissingDependency, OutsideHull, UserError
from matgen.evaluation.cohort import Cohort
from matgen.records import Crystal, Measurement, Record, Relaxation, Sample
from matgen.roles.evaluator import Need
from matgen.roles.hull import Hull
from matgen.testing.contract import broken
from matgen.testing.hostile import crystals as hostile_crystals

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.evaluation.reference import Reference
    from matgen.roles.dataset import DatasetSource, Split
    from matgen.roles.evaluator import Evaluator
    from matgen.roles.executor import Executor
    from matgen.roles.hull import HullReference
    from matgen.roles.protocol import EvaluationProtocol
    from matgen.roles.relaxer import Relaxer
    from matgen.roles.reward import Reward


def check_dataset(dataset: DatasetSource, *, limit: int = 200) -> None:
    """Check a dataset.

    Every split that it says it has can be read. Records come in the same order every time, with ids
    that differ and properties that have units and label sources; where there are several sources,
    a record says which. Crystals are finite; no record is in two splits; the fingerprint stays.

    Args:
        dataset: What to check.
        limit: Records of each split that are read.

    Raises:
        ContractBroken: a law does not hold.
    """
    if dataset.fingerprint() != dataset.fingerprint():
        raise broken(dataset, "the fingerprint is the same every time")
    declared = _declared_sources(dataset)
    seen: dict[str, str] = {}
    for split in dataset.splits:
        records, again = (_first_records(dataset, split, limit) for _ in range(2))
        for record, other in zip(records, again, strict=True):
            if record.id != other.id or not np.array_equal(record.crystal.frac, other.crystal.frac):
                raise broken(dataset, "records come in the same order every time", record.id)
            if record.id in seen:
                raise broken(
                    dataset, "no id comes twice", f"{record.id} in {seen[record.id]} and {split}"
                )
            seen[record.id] = split
            _check_crystal(dataset, record.id, record.crystal)
            for name, value in record.properties.items():
                if name not in dataset.units:
                    raise broken(dataset, "every property has a unit", name)
                if not isinstance(value, str) and not math.isfinite(value):
                    raise broken(
                        dataset,
                        "properties are finite, a missing one is absent",
                        f"{name} = {value} of {record.id}",
                    )
            _check_sources(dataset, record, declared)
    if "train" not in seen.values():
        raise broken(dataset, "there is something to train on")


def check_relaxer(
    relaxer: Relaxer, *, crystals: Sequence[Crystal] | None = None, device: str = "cpu"
) -> None:
    """Check a relaxer.

    One result per crystal, sites in the order they came; a crystal that cannot be relaxed is a
    result with an error; a crystal relaxes alone as it does among others.

    Args:
        relaxer: What to check; few steps suffice.
        crystals: Some of the hostile ones where None; two coinciding sites are always added.
        device: Where to open it.

    Raises:
        ContractBroken: a law does not hold.
        MissingDependency: the potential is not installed.
    """
    session = relaxer.open(device)
    if list(session.relax([])):
        raise broken(relaxer, "no crystals give no results")
    given = [*(crystals or hostile_crystals()[:4])]
    collapsed = Crystal(3.0 * np.eye(3), np.zeros((2, 3)), np.array([26, 26], dtype=np.int64))
    given.insert(1, collapsed)
    try:
        results = list(session.relax(given))
    except Exception as error:  # whatever it is, it breaks the law
        raise broken(
            relaxer, "a failure is a result", f"{type(error).__name__}: {error}"
        ) from error
    if len(results) != len(given):
        raise broken(relaxer, "one result per crystal", f"{len(results)} for {len(given)}")
    for crystal, result in zip(given, results, strict=True):
        if result.crystal is None:
            if not result.error:
                raise broken(relaxer, "a failed relaxation says why")
            continue
        if not np.array_equal(result.crystal.numbers, crystal.numbers):
            raise broken(relaxer, "sites keep their number and order")
        if result.energy is None or not math.isfinite(result.energy):
            raise broken(relaxer, "a relaxed crystal has a finite energy", result.energy)
        if not (
            np.isfinite(result.crystal.lattice).all() and np.isfinite(result.crystal.frac).all()
        ):
            raise broken(relaxer, "a relaxed crystal is finite")
    _check_alone(relaxer, given[-1], results[-1], device)


def check_hull(
    reference: HullReference, *, relaxer: Relaxer, crystals: Sequence[Crystal] | None = None
) -> None:
    """Check a hull reference.

    The potential is on a scale that it takes, and it lacks nothing for it. The distance rises by
    one eV per site with the energy on the hull's own scale and is the same for two cells together;
    what is not spanned raises ``OutsideHull``. No crystal lies below a hull that it joins itself.
    What a crystal falls apart into, where the hull tells it, has the crystal's atoms.

    Args:
        reference: What to check.
        relaxer: A potential whose energies it takes; it is not opened.
        crystals: The hostile ones where None.

    Raises:
        ContractBroken: a law does not hold.
    """
    if not reference.takes(relaxer.energy_scale):
        raise broken(reference, "it takes the scale of the relaxer", relaxer.energy_scale)
    if missing := reference.lacks(relaxer):
        raise broken(reference, "it lacks nothing for the relaxer", missing)
    hull = reference.open(relaxer)
    n_spanned = 0
    for crystal in crystals or hostile_crystals():
        energy = -3.0 * crystal.n_sites
        try:
            distance = hull.distance(crystal, energy)
        except OutsideHull:
            continue
        n_spanned += 1
        if not math.isfinite(distance):
            raise broken(reference, "the distance is finite", distance)
        raised = hull.distance(crystal, energy + crystal.n_sites)
        expected = 1.0 if relaxer.energy_scale == reference.energy_scale else raised - distance
        # A correction may be a factor: only on the hull's own scale is an eV an eV.
        if abs(raised - distance - expected) > 1e-6 or raised <= distance:
            raise broken(
                reference,
                "one eV more per site is one eV/atom more above the hull",
                raised - distance,
            )
        both = Crystal(
            crystal.lattice * [[2], [1], [1]],
            np.concatenate([crystal.frac, crystal.frac + np.array([1, 0, 0])]) / [2, 1, 1],
            np.concatenate([crystal.numbers, crystal.numbers]),
        )
        if abs(hull.distance(both, 2 * energy) - distance) > 1e-6:
            raise broken(reference, "twice the cell at twice the energy is as far from the hull")
        _check_decomposition(reference, hull.decomposition(crystal), crystal)
        own = hull.own_distances([crystal, crystal], [energy, energy + crystal.n_sites])
        if own is not None and not _is_own_hull(own, raised - distance):
            raise broken(reference, "no crystal lies below the hull that it joins", own)
    if not n_spanned:
        raise broken(reference, "some crystal is spanned", "pass crystals= that are")


def _check_decomposition(
    reference: HullReference, products: Mapping[str, float] | None, crystal: Crystal
) -> None:
    if products is None:
        return
    if any(share <= 0 for share in products.values()):
        raise broken(reference, "products of a decomposition have positive shares", products)
    shares = np.zeros(len(symbols))
    for formula, share in products.items():
        atoms = parse_formula(formula)
        for number, n in atoms.items():
            shares[number] += share * n / sum(atoms.values())
    own = np.bincount(crystal.numbers, minlength=len(symbols)) / crystal.n_sites
    if np.abs(shares - own).max() > 1e-5:
        raise broken(reference, "products of a decomposition have the crystal's atoms", products)


def check_evaluator(
    evaluator: Evaluator,
    *,
    executor: Executor,
    reference: Reference | None = None,
    after: Sequence[Evaluator] = (),
    rates: Sequence[str] | None = None,
) -> None:
    """Check that an evaluator survives any cohort and divides by the samples asked for.

    A figure that divides by anything else has a unit that says so, as ``of truth``.

    Args:
        evaluator: What to check.
        executor: Where its work runs.
        reference: Known crystals, for evaluators that need them.
        after: Evaluators whose columns it reads, in the order they run.
        rates: Summary figures that are fractions of the samples asked for; where None, those
            without a unit.

    Raises:
        ContractBroken: a law does not hold.
    """
    good = [
        Sample(index, crystal, -1.0, -0.5) for index, crystal in enumerate(hostile_crystals()[:4])
    ]
    failed = [Sample(index, None, error="the token limit was reached") for index in range(4, 8)]
    unknown = Crystal(4.0 * np.eye(3), np.zeros((1, 3)), np.array([118], dtype=np.int64))
    truth = [
        Record(f"truth-{index}", crystal) for index, crystal in enumerate(hostile_crystals()[:4])
    ]
    strange = [Sample(0, unknown), Sample(1, None, error="nothing")]
    with executor.open() as pool:

        def measured(samples: Sequence[Sample], asked: int) -> Measurement:
            cohort = Cohort(
                samples,
                asked,
                pool,
                relaxations=[_as_it_is(sample) for sample in samples],
                hull=_FlatHull(),
                reference=reference,
                truth=truth,
            )
            for earlier in after:
                found = {earlier.name: earlier.measure(cohort)}
                cohort = dataclasses.replace(cohort, done={**cohort.done, **found})
            return _measured(evaluator, cohort)

        measured([], 0)
        measured([], 3)
        measured(strange, 2)
        none = measured(failed, 4)
        some = measured(good, 4)
        half = measured([*good, *failed], 8)
    for name in rates if rates is not None else _unitless(some):
        parts = none.summary.get(name), some.summary.get(name), half.summary.get(name)
        if any(part is None for part in parts):
            raise broken(
                evaluator, "a rate over samples that were asked for is always defined", name
            )
        of_none, of_some, of_half = (float(part) for part in parts if part is not None)
        if abs(of_half - (of_none + of_some) / 2) > 1e-9:
            raise broken(
                evaluator,
                "every rate divides by the samples asked for",
                f"{name} is {of_some:g} for 4 crystals, {of_none:g} for 4 failures and "
                f"{of_half:g} for all 8",
            )


def check_protocol(protocol: EvaluationProtocol, catalog: Catalog) -> None:
    """Check a way of evaluating.

    It measures something, nothing twice; every evaluator and its own potential are registered and
    take the settings that it gives them; an evaluator that waits for others finds them in it; what
    it compares with is needed by some evaluator.

    Args:
        protocol: What to check.
        catalog: Where its names are looked up.

    Raises:
        ContractBroken: a law does not hold.
    """
    measures = protocol.measures()
    if not measures:
        raise broken(protocol, "it measures something")
    built: list[Evaluator] = []
    for chosen in measures:
        try:
            built.append(cast("Evaluator", catalog.build("evaluator", chosen.use, chosen.settings)))
        except UserError as error:
            raise broken(
                protocol, "its evaluators are there and take its settings", error
            ) from None
    names = [evaluator.name for evaluator in built]
    if len(set(names)) < len(names):
        raise broken(protocol, "no evaluator comes twice", ", ".join(names))
    for evaluator in built:
        missing = sorted(set(evaluator.waits_for()) - set(names))
        if missing:
            law = "what an evaluator waits for is measured too"
            raise broken(protocol, law, f"{evaluator.name}: {', '.join(missing)}")
    if protocol.wants_truth and not any(Need.TRUTH in e.needs for e in built):
        raise broken(protocol, "the truth that it wants is compared with")
    if protocol.relaxer is not None:
        settings = {**protocol.relaxation, **protocol.relaxer.settings}
        try:
            catalog.build("relaxer", protocol.relaxer.use, settings)
        except UserError as error:
            raise broken(protocol, "its potential is there and takes its settings", error) from None


def check_executor(executor: Executor) -> None:
    """Check that an executor's pool keeps the order, works twice, and passes errors on.

    Raises:
        ContractBroken: a law does not hold.
    """
    with executor.open() as pool:
        if list(pool.map(abs, [])):
            raise broken(executor, "no items give no results")
        for n in (1, 50):
            results = list(pool.map(abs, range(-n, 0)))
            if results != list(range(n, 0, -1)):
                raise broken(executor, "results come in the order of the items", results)
        try:
            list(pool.map(math.sqrt, [4.0, -1.0, 9.0]))
        except ValueError:
            pass
        else:
            raise broken(executor, "an error of a task reaches the caller")


def check_reward(reward: Reward, *, device: str = "cpu") -> None:
    """Check that a reward scores each sample by itself and failed ones lowest.

    Raises:
        ContractBroken: a law does not hold.
    """
    score = reward.open(device)
    if list(score([])):
        raise broken(reward, "no samples give no scores")
    samples = [Sample(i, crystal) for i, crystal in enumerate(hostile_crystals()[:6])]
    samples.insert(2, Sample(6, None, error="the token limit was reached"))
    scores = [float(value) for value in score(samples)]
    if len(scores) != len(samples):
        raise broken(reward, "one score per sample", f"{len(scores)} for {len(samples)}")
    if any(math.isnan(value) for value in scores):
        raise broken(reward, "a score is a number", scores)
    if scores[2] > min(scores):
        raise broken(reward, "a failed sample scores lowest", scores)
    if not np.allclose([float(value) for value in score(samples[::-1])], scores[::-1]):
        raise broken(reward, "a score does not depend on the other samples")


def _is_own_hull(own: Sequence[float | None], apart: float) -> bool:
    """Whether these are distances of a crystal, and of it a known energy higher, from one hull."""
    low, high = own
    return low is not None and high is not None and low >= -1e-9 and abs(high - low - apart) < 1e-6


class _FlatHull(Hull):
    """Every crystal lies at its energy per site above it."""

    def distance(self, crystal: Crystal, energy: float) -> float:
        return energy / crystal.n_sites


def _as_it_is(sample: Sample) -> Relaxation:
    if sample.crystal is None:
        return Relaxation(None, error="nothing to relax")
    return Relaxation(sample.crystal, energy=0.0, initial_energy=0.1, converged=True)


def _measured(evaluator: Evaluator, cohort: Cohort) -> Measurement:
    try:
        measurement = evaluator.measure(cohort)
    except Exception as error:  # whatever it is, it breaks the law
        raise broken(
            evaluator,
            "an evaluator survives any cohort",
            f"{type(error).__name__}: {error} with {len(cohort.samples)} samples, "
            f"{len([c for c in cohort.crystals if c is not None])} crystals",
        ) from error
    if measurement.asked != cohort.asked:
        raise broken(evaluator, "asked is the cohort's", (measurement.asked, cohort.asked))
    for name, column in measurement.per_sample.items():
        if len(column) != cohort.asked:
            raise broken(
                evaluator,
                "every column has an entry per sample asked for",
                f"{name}: {len(column)} for {cohort.asked}",
            )
    for name, figure in measurement.summary.items():
        if figure is not None and not math.isfinite(figure):
            raise broken(evaluator, "figures are finite or None", f"{name} = {figure}")
        if name not in measurement.units:
            raise broken(evaluator, "every figure has a unit, empty for fractions", name)
    return measurement


def _unitless(measurement: Measurement) -> list[str]:
    return [name for name in measurement.summary if not measurement.units[name]]


def _first_records(dataset: DatasetSource, split: Split, limit: int) -> list[Record]:
    try:
        return list(islice(dataset.records(split, on_skip=lambda _: None), limit))
    except (BadFile, MissingDependency):
        raise  # says what is not on this machine
    except Exception as error:  # whatever it is, it breaks the law
        raise broken(
            dataset,
            "every split that it says it has can be read",
            f"{split}: {type(error).__name__}: {error}",
        ) from error


def _declared_sources(dataset: DatasetSource) -> dict[str, set[str]]:
    """Return the names of the label sources of each property."""
    declared = {
        name: {source.name for source in sources} for name, sources in dataset.label_sources.items()
    }
    for name in dataset.units:
        if not declared.get(name):
            raise broken(dataset, "every property has a label source", name)
    return declared


def _check_sources(dataset: DatasetSource, record: Record, declared: dict[str, set[str]]) -> None:
    for name, source in record.sources.items():
        if source not in declared.get(name, ()):
            raise broken(
                dataset, "a record names label sources of the dataset", f"{source} for {name}"
            )
    for name in record.properties:
        if len(declared[name]) > 1 and name not in record.sources:
            raise broken(
                dataset, "of several label sources a record says which", f"{name} of {record.id}"
            )


def _check_crystal(dataset: DatasetSource, name: str, crystal: Crystal) -> None:
    n = crystal.n_sites
    if n < 1 or crystal.frac.shape != (n, 3) or crystal.lattice.shape != (3, 3):
        raise broken(dataset, "a crystal has sites, a lattice and a coordinate per axis", name)
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac).all()):
        raise broken(dataset, "a crystal is finite", name)
    if crystal.volume <= 0 or crystal.numbers.min() < 1 or crystal.numbers.max() > 118:
        raise broken(dataset, "a crystal has a volume and known elements", name)


def _check_alone(relaxer: Relaxer, crystal: Crystal, among: Relaxation, device: str) -> None:
    (alone,) = relaxer.open(device).relax([crystal])
    if (alone.energy is None) != (among.energy is None):
        raise broken(relaxer, "a crystal relaxes alone as it does among others")
    if alone.energy is None or among.energy is None:
        return
    if abs(alone.energy - among.energy) > 1e-3 * crystal.n_sites:
        raise broken(
            relaxer,
            "a crystal relaxes alone as it does among others",
            f"{alone.energy:g} and {among.energy:g} eV",
        )
