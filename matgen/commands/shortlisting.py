"""One shortlist from flags to files: what ``matgen shortlist`` does after parsing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from matgen.commands.console import print_json, print_table, progress_bar, say, warn
from matgen.commands.stages import stage_bars, stoppable
from matgen.errors import BadOptions, OutsideHull

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.hull import HullReference
    from matgen.roles.relaxer import Relaxer
    from matgen.shortlist.candidates import Candidate, Evaluated
    from matgen.shortlist.known import KnownMaterials
    from matgen.shortlist.ranking import Entry


@dataclass(frozen=True)
class Asked:
    """What was typed; names as in the command."""

    run: Path
    n: int
    second: str | None
    second_hull: str | None
    threshold: float
    pool: int
    known: bool
    reference: str | None
    phonons: int
    imaginary_thz: float
    symprec: float
    out: Path
    workers: int
    cache: bool
    device: str
    settings: tuple[str, ...]


def make_shortlist(asked: Asked, catalog: Catalog, *, json_out: bool) -> None:
    """Read the evaluation, ask the second potential, rank, write, print."""
    from matgen.crystal.symmetry import space_group
    from matgen.shortlist.candidates import read_evaluated
    from matgen.shortlist.files import write_shortlist
    from matgen.shortlist.phonons import require_phonopy
    from matgen.shortlist.ranking import Entry, ranked

    if asked.phonons:
        require_phonopy()
    if asked.settings and not asked.second:
        raise BadOptions("--set is for the second potential; name it: --second sevennet")
    found = read_evaluated(asked.run, threshold=asked.threshold, novel_only=not asked.known)
    settings = cast("Mapping[str, Any]", found.run.report["settings"])
    first = cast("Relaxer", _component(catalog, "relaxer", settings["relaxer"], "a potential"))
    hull = cast("HullReference", _component(catalog, "hull", settings["hull"], "a hull"))
    told = ", ".join(f"{count} {reason}" for reason, count in found.counts.items() if count)
    say(f"{asked.run}: {told}")
    if not found.candidates:
        warn("no candidate is left; raise --threshold, take --any, or sample more")
    with stoppable("what is done is kept; the same command goes on"):
        entries = [Entry(candidate) for candidate in found.candidates]
        if asked.second and entries:
            pool = [entry.candidate for entry in entries[: asked.pool]]
            entries = _second_opinions(pool, asked, settings, catalog)
        entries = ranked(entries)[: asked.n]
        opened = hull.open(first) if entries else None
        materials = _known(asked.reference, catalog) if entries else None
        complete = []
        for entry in entries:
            crystal = entry.candidate.crystal
            products: dict[str, float] = {}
            if opened is not None:
                try:
                    products = dict(opened.decomposition(crystal) or {})
                except OutsideHull as error:
                    warn(f"crystal {entry.candidate.index}: {error}")
            complete.append(
                replace(
                    entry,
                    neighbour=None if materials is None else materials.nearest(crystal),
                    products=products,
                    space_group=space_group(crystal, symprec=asked.symprec),
                )
            )
        if asked.phonons:
            complete = _with_vibrations(complete, first, asked)
        about = _about(asked, found, settings)
        write_shortlist(
            asked.out,
            complete,
            about=about,
            imaginary_thz=asked.imaginary_thz,
            symprec=asked.symprec,
        )
    rows = [
        entry.to_json(rank, imaginary_thz=asked.imaginary_thz)
        for rank, entry in enumerate(complete, 1)
    ]
    if json_out:
        print_json({**about, "crystals": rows})
        return
    _print(rows, second=bool(asked.second), phonons=bool(asked.phonons))
    if complete:
        say(
            f"to look at: matgen evaluate {asked.out / 'crystals.extxyz'} --relax "
            f"{first.name} --report page.html"
        )
        say(
            f"to calculate: matgen dft write {asked.out} --calculation band_gap --pseudo DIR --out "
            "gaps"
        )
    typer.echo(str(asked.out))


def _component(catalog: Catalog, role: str, described: object, what: str) -> object:
    """Return a component as a report describes it.

    Raises:
        BadOptions: the evaluation had none.
    """
    if not isinstance(described, Mapping):
        raise BadOptions(f"the evaluation had no {role}; evaluate again with {what}")
    return catalog.build(role, str(described["use"]), described["settings"])


def _second_opinions(
    pool: Sequence[Candidate], asked: Asked, settings: Mapping[str, Any], catalog: Catalog
) -> list[Entry]:
    """Return the candidates with what a second potential says of them."""
    from matgen.evaluation.evaluated_runs import read_run
    from matgen.evaluation.pipeline import evaluate
    from matgen.evaluation_plan import EvaluationRequest, resolve_evaluation
    from matgen.records import Sample
    from matgen.shortlist.ranking import Entry

    typed = [*asked.settings]
    hull = asked.second_hull or str(settings["hull"]["use"])
    if not asked.second_hull:
        typed += [
            f"hull.{name}={value}" for name, value in settings["hull"]["settings"].items() if value
        ]
    plan = resolve_evaluation(
        catalog,
        EvaluationRequest(
            relaxer=asked.second,
            hull=hull,
            reference="none",
            evaluators=("validity", "relaxation", "stability"),
            settings=tuple(typed),
            workers=asked.workers,
            cache=asked.cache,
            device=asked.device,
        ),
    )
    samples = [Sample(place, candidate.crystal) for place, candidate in enumerate(pool)]
    folder = asked.out / "second"
    with stage_bars() as show:

        def told(stage: str, done: int, total: int) -> None:
            show(stage, done, total)

        evaluate(plan, samples, len(samples), folder, observer=told)
    columns = read_run(folder, "second").columns
    distances = columns["energy_above_hull"]
    statuses = columns["status"]
    return [
        Entry(
            candidate,
            second_above_hull=None if distance is None else float(distance),
            second_status=str(status),
        )
        for candidate, distance, status in zip(pool, distances, statuses, strict=True)
    ]


def _known(reference: str | None, catalog: Catalog) -> KnownMaterials:
    """Return the materials of every split of a dataset, whatever their energy."""
    from matgen.plan_parts import resolve_dataset
    from matgen.shortlist.known import KnownMaterials

    dataset = resolve_dataset(catalog, reference or catalog.choices.default("dataset"))
    # A person who asks about distances from the hull wants the unstable ones, too.
    dataset = dataset.for_conditions(frozenset({"energy_above_hull"}))
    return KnownMaterials(
        record
        for split in dataset.splits
        for record in dataset.records(split, on_skip=lambda _: None)
    )


def _with_vibrations(entries: Sequence[Entry], relaxer: Relaxer, asked: Asked) -> list[Entry]:
    """Return entries with the vibrations of the first ones."""
    from matgen.shortlist.phonons import VibrationCheck
    from matgen.shortlist.vibration_log import VibrationLog

    log = VibrationLog(asked.out / "phonons", relaxer)
    check: VibrationCheck | None = None
    chosen = list(entries[: asked.phonons])
    found = []
    with progress_bar() as bar:
        task = bar.add_task("phonons", total=len(chosen))
        for entry in chosen:
            crystal = entry.candidate.crystal
            vibrations = log.get(crystal)
            if vibrations is None:
                check = check or VibrationCheck(relaxer, asked.device)

                def show(what: str, number: int = entry.candidate.index) -> None:
                    bar.update(task, description=f"phonons, crystal {number}: {what}")

                vibrations = check.vibrations(
                    crystal, imaginary_thz=asked.imaginary_thz, progress=show
                )
                log.put(crystal, vibrations)
            found.append(replace(entry, vibrations=vibrations))
            bar.advance(task)
    return [*found, *entries[len(chosen) :]]


def _about(
    asked: Asked, found: Evaluated, settings: Mapping[str, Any]
) -> dict[str, Any]:  # JSON values
    protocol = settings.get("protocol")
    return {
        "format": 1,
        "run": str(asked.run),
        "evaluation": protocol["label"] if isinstance(protocol, Mapping) else None,
        "samples": found.run.report["asked"],
        "counts": dict(found.counts),
        "potential": settings["relaxer"],
        "second_potential": asked.second,
        "hull": settings["hull"],
        "threshold_ev_per_atom": asked.threshold,
        "imaginary_thz": asked.imaginary_thz,
        "symprec_ang": asked.symprec,
    }


def _print(rows: Sequence[Mapping[str, Any]], *, second: bool, phonons: bool) -> None:
    """Print the list; columns of what was not asked for stay away."""
    header = ["rank", "crystal", "formula", "space group", "above hull"]
    header += ["second", "apart"] if second else []
    header += ["nearest known", "falls apart into"]
    header += ["phonons"] if phonons else []
    header += ["status"]
    lines = []
    for row in rows:
        line = [str(row["rank"]), str(row["index"]), row["formula"], str(row["space_group"] or "")]
        line.append(f"{row['energy_above_hull']:.3f}")
        if second:
            line += [_number(row["second_energy_above_hull"]), _number(row["disagreement"])]
        near = "" if row["nearest"] is None else f"{row['nearest']} {row['nearest_formula']}"
        by = {"structure": "same structure, ", "formula": "same formula, ", "composition": ""}
        if near:
            near += f" ({by[row['nearest_by']]}{row['nearest_distance']:.2f})"
        line += [near, row["decomposes_to"]]
        line += [row["phonons"] or ""] if phonons else []
        lines.append((*line, row["status"]))
    print_table(header, lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
