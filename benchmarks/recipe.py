"""What helps training: one recipe after another, validation loss at equal compute on mp_le20.

Every arm is the base with a few settings changed: the tiny network (4 layers of width 128), 4,096
positions a step, AdamW at 0.002, falling linearly to zero at the last step. All arms take the same
number of steps and so see as many tokens, in one process, each in a run folder of its own under
``--out``. An interrupted benchmark goes on where it was when it is called again: finished arms are
not trained again, an unfinished one goes on from its checkpoint. Each folder is a run that
``matgen sample`` reads.

What the numbers do not say:

- One seed at this size shows large effects only: runs that differ in nothing but their seed differ,
  too. Several ``--seeds`` show by how much (differences are between runs of the same seed, ± is the
  standard error of their mean); believe nothing smaller.
- What helps in one or two epochs need not help in fifty. Dropout, weight decay and random
  descriptions are against learning by heart, and a short run has seen nothing often enough for
  that; the last line says how many epochs it was.
- Augmented arms have to guess one more thing: which of the equal descriptions of a crystal it is
  that they are shown. ``loss`` is what training reports, and is not comparable. ``crystal`` is the
  loss less the logarithm of the number of descriptions (orders of the sites, origins, cells; a
  mirror image counts as the same crystal): by Jensen's inequality no less than the loss of the
  crystal itself, however described, for every arm. Differences are between those.

``time`` is the median step against the base's: CPU time with one thread, which a busy neighbour
changes little, else wall time.

    python benchmarks/recipe.py --quick
    python benchmarks/recipe.py --steps 2000 --seeds 0 1 2 --threads 1 --out runs/recipe
    python benchmarks/recipe.py --arms muon ema-0.999 --set backbone.layers=6 --out runs/deeper

Prints a Markdown table and one line of JSON, differences to the base first: below 0 is better. A
quick run shows that it works, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from matgen import Crystal
from matgen.atomic import read_json, write_json
from matgen.catalog import Catalog
from matgen.commands.allocator import keep_freed_memory
from matgen.commands.console import cache_folder, log_to_stderr, say
from matgen.commands.preparing import prepare_stores, store_report
from matgen.data.batch import Gathered
from matgen.data.token_store import TokenStore
from matgen.errors import BadFile, BadOptions, UserError
from matgen.model_spec import ModelSpec
from matgen.plan import TrainConfig, TrainPlan, resolve_training
from matgen.plan_parts import parse_settings
from matgen.run_dir import describe_run, save_run
from matgen.training.hardware import resolve_hardware
from matgen.training.loop import train
from matgen.training.progress import Progress, Validation
from matgen_materium.atoms import Atoms
from matgen_materium.equivalent_cells import equivalent_cells
from matgen_materium.orderings import Random

FEWEST_TIMED = 8
"""Steps of a sitting from which its speed is taken."""
RESULT = "recipe.json"
BASE = "base"


@dataclass(frozen=True)
class Arm:
    """A recipe: ``--set`` texts over the base, and the ordering where it is another."""

    settings: tuple[str, ...] = ()
    ordering: str | None = None


_RANDOM_ORDER = "ordering.redraw=epoch"
_RANDOM_ORIGINS, _RANDOM_CELLS = "representation.origins=random", "representation.cells=random"
_TWICE, _HALF = "training.learning_rate=0.004", "training.learning_rate=0.001"
ARMS: Mapping[str, Arm] = {
    BASE: Arm(),
    "rate-half": Arm((_HALF,)),
    "rate-twice": Arm((_TWICE,)),
    "plateau": Arm(("training.schedule=plateau",)),
    "cosine": Arm(("training.schedule=cosine",)),
    "wsd": Arm(("training.schedule=wsd",)),
    # As many rates as AdamW has: the best of three is better than one.
    "muon": Arm(("training.optimizer=muon",)),
    "muon-rate-half": Arm(("training.optimizer=muon", _HALF)),
    "muon-rate-twice": Arm(("training.optimizer=muon", _TWICE)),
    "ema-0.99": Arm(("training.ema_decay=0.99",)),
    "ema-0.999": Arm(("training.ema_decay=0.999",)),
    "smoothing-0.05": Arm(("training.label_smoothing=0.05",)),
    "decay-0": Arm(("training.weight_decay=0.0", "training.embedding_weight_decay=0.0")),
    "decay-0.2": Arm(("training.weight_decay=0.2", "training.embedding_weight_decay=0.2")),
    "dropout-0": Arm(("backbone.dropout=0.0",)),
    "coordinates-twice": Arm(("training.kind_weights={coordinate=2.0}",)),
    # TOML has no null; no gradient is as long as this.
    "clip-off": Arm(("training.gradient_clip=1e9",)),
    "plain-tokens": Arm(("backbone.token_features=false",)),
    "plain-positions": Arm(("backbone.learned_positions=false",)),
    "plain-both": Arm(("backbone.token_features=false", "backbone.learned_positions=false")),
    "lattice-first": Arm(("representation.lattice=first",)),
    "random-order": Arm((_RANDOM_ORDER,), ordering="random"),
    "random-origins": Arm((_RANDOM_ORIGINS,)),
    "random-cells": Arm((_RANDOM_CELLS,)),
    "random-all": Arm((_RANDOM_ORDER, _RANDOM_ORIGINS, _RANDOM_CELLS), ordering="random"),
}
QUICK = (BASE, "cosine", "random-cells")


@dataclass(frozen=True)
class Scale:
    """What all arms share.

    Attributes:
        batch_tokens: Positions a step.
        looks: Validations of an arm, besides those at the ends of epochs.
        n_validation: Crystals of the validation set to look at.
        settings: ``--set`` texts under those of the arms.
    """

    steps: int
    batch_tokens: int
    looks: int
    n_validation: int
    preset: str
    threads: int
    settings: tuple[str, ...]

    def config(self, arm: Arm, seed: int) -> TrainConfig:
        """Return the run of an arm as a person would ask for it."""
        common = (
            "training.learning_rate=0.002",
            "training.schedule=linear",
            f"training.warmup_steps={min(100, self.steps // 10)}",
            f"training.batch_tokens={self.batch_tokens}",
            # The steps end it, whatever the size of the dataset.
            "training.epochs=1000000",
            f"training.max_steps={self.steps}",
            f"training.validate_every={max(1, self.steps // self.looks)}",
            f"training.validation_sequences={self.n_validation}",
            f"training.threads={self.threads}",
            f"training.seed={seed}",
        )
        return TrainConfig(
            dataset="mp_le20",
            preset=self.preset,
            ordering=arm.ordering,
            settings=parse_settings((*common, *self.settings, *arm.settings)),
        )


class Sample:
    """Some crystals of a store, always the same ones: what is looked at, and nothing else."""

    def __init__(self, store: TokenStore, n: int) -> None:
        self.store = store
        self.chosen = np.sort(np.random.default_rng(0).permutation(len(store))[:n])
        self.kind_names = store.kind_names
        self.fingerprint = f"{store.fingerprint}, {len(self.chosen)} of it"
        self.lengths: NDArray[np.int32] = store.lengths[self.chosen]

    def __len__(self) -> int:
        return len(self.chosen)

    def gather(self, indices: NDArray[np.int64], *, epoch: int) -> Gathered:
        """Return chosen sequences as the store writes them in this epoch."""
        return self.store.gather(self.chosen[indices], epoch=epoch)

    def features(self, label: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return features of chosen sequences."""
        return self.store.features(label, self.chosen[indices])


class StepTimes:
    """Hears of steps and takes the time between them; a ``TrainObserver``."""

    def __init__(self, threads: int) -> None:
        self._clock = time.process_time if threads == 1 else time.perf_counter
        self._marks: list[float] = []

    @property
    def seconds_per_step(self) -> float | None:
        """Median of this sitting; None after a few steps only."""
        if len(self._marks) < FEWEST_TIMED:
            return None
        return float(np.median(np.diff(self._marks)))

    def on_step(self, progress: Progress) -> None:
        """Take the time."""
        del progress
        self._marks.append(self._clock())

    def on_validation(self, validation: Validation) -> None:
        """Do nothing: a look is one of the long gaps, which the median leaves out."""

    def on_checkpoint(self, path: Path) -> None:
        """Do nothing."""


def nats_of_description(spec: ModelSpec, sample: Sample) -> float:
    """Return the mean logarithm of the number of descriptions of a crystal, nats a token."""
    atoms, nats = spec.representation, 0.0
    assert isinstance(atoms, Atoms)
    for index in sample.chosen.tolist():
        crystal = sample.store.crystal(index)
        if isinstance(spec.ordering, Random):
            nats += math.lgamma(crystal.n_sites + 1)
        if atoms.stochastic:
            nats += math.log(n_descriptions(atoms, crystal))
    # The start token is given.
    return nats / float((sample.lengths - 1).sum())


def n_descriptions(atoms: Atoms, crystal: Crystal) -> float:
    """Return how many different sets of sites ``redescribed`` gives of a crystal on the grid.

    All changes of cell and shifts of the origin that it draws from, divided by the number of those
    that give the same set again (orbit and stabiliser).

    Axis letters: K changes, S shifts, N sites.
    """
    n = atoms.bins.n_coordinate
    moves_origin = atoms.origins == "random"
    changes = equivalent_cells(crystal.lattice) if atoms.cells == "random" else np.eye(3)[None]
    points_N3 = atoms.bins.quantise_frac(crystal.frac)
    states = np.zeros_like(crystal.numbers) if crystal.oxidation is None else crystal.oxidation
    _, species_N, counts = np.unique(
        np.stack([crystal.numbers, states]), axis=1, return_inverse=True, return_counts=True
    )
    species_N = species_N.ravel()
    turned_KN3 = points_N3 @ changes.astype(np.int64)
    shifts_KS3 = np.zeros((len(changes), 1, 3), dtype=np.int64)
    if moves_origin:
        # Where all comes to lie on itself, so does a site of the rarest species.
        rarest = np.flatnonzero(species_N == np.argmin(counts))
        shifts_KS3 = points_N3[rarest] - turned_KN3[:, rarest[:1]]
    moved_KSN3 = (turned_KN3[:, None] + shifts_KS3[:, :, None]) % n
    was_N, is_KSN = (_codes(species_N, points, n) for points in (points_N3, moved_KSN3))
    n_same = int((was_N == is_KSN).all(axis=-1).sum())
    return len(changes) * (float(n) ** 3 if moves_origin else 1.0) / n_same


def _codes(species_N: NDArray[np.int64], points: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return sites as numbers, in ascending order: the same for the same set of sites."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.sort(((species_N * n + x) * n + y) * n + z, axis=-1)


def run_arm(
    name: str, seed: int, scale: Scale, catalog: Catalog, *, out: Path, stores: Path
) -> dict[str, Any]:
    """Return the result of an arm, trained now as far as it was not yet.

    Raises:
        BadOptions: the folder holds another run.
        KeyboardInterrupt: it was stopped, and saved.
    """
    plan = resolve_training(scale.config(ARMS[name], seed), catalog, gpu=False)
    opened, plan = prepared(plan, catalog, stores)
    sample = Sample(opened["val"], scale.n_validation)
    hardware = resolve_hardware(plan.settings)
    made_with = {
        "backbone": catalog.dump(plan.spec.backbone),
        "settings": plan.settings.model_dump(mode="json", exclude={"threads", "device"}),
        "stores": [opened["train"].fingerprint, sample.fingerprint],
    }
    folder = out / name / f"{scale.steps}-steps-seed-{seed}"
    if (folder / RESULT).exists():
        result: dict[str, Any] = read_json(folder / RESULT)
        if result["made_with"] != made_with:
            raise BadOptions(
                f"{folder} holds an arm with other settings or data; choose another --out"
            )
        return result
    info = describe_run(
        catalog,
        plan.spec,
        plan.dataset,
        plan.settings.model_dump(mode="json"),
        {s: {**store_report(o), "path": str(o.path.resolve())} for s, o in opened.items()},
    )
    save_run(folder, info, plan.spec)
    times = StepTimes(scale.threads)
    result = {"made_with": made_with, "failed": ""}
    try:
        told = train(plan.spec, opened["train"], sample, plan.settings, folder, observer=times)
    except (BadOptions, BadFile):
        raise
    except UserError as error:
        # A recipe that does not learn is a result.
        result["failed"] = str(error)
    else:
        if told.interrupted:
            raise KeyboardInterrupt
        result |= {
            **losses(folder / "metrics.jsonl", scale.steps),
            "description": nats_of_description(plan.spec, sample),
            "epochs": scale.steps * plan.settings.batch_tokens / n_positions(plan.spec, opened),
            "skipped_steps": told.skipped_steps,
            "seconds_per_step": times.seconds_per_step,
            "device": f"{hardware.device}, {'bf16' if hardware.bf16 else 'fp32'}",
        }
    write_json(folder / RESULT, result)
    return result


def prepared(
    plan: TrainPlan, catalog: Catalog, stores: Path
) -> tuple[dict[str, TokenStore], TrainPlan]:
    """Return both stores, made once and kept, and the plan with what was fitted to them.

    The seed of the stores is that of the default run, so that all seeds look at the same sequences.
    """
    first = replace(plan, settings=plan.settings.model_copy(update={"seed": 0}))
    opened = prepare_stores(first, stores / plan.dataset.name, catalog)
    made = opened["train"]
    spec = ModelSpec(made.representation, made.ordering, plan.spec.backbone, made.conditions)
    return opened, replace(plan, spec=spec)


def n_positions(spec: ModelSpec, opened: Mapping[str, TokenStore]) -> int:
    """Return the positions of a training epoch: tokens and condition slots."""
    return opened["train"].n_tokens + len(opened["train"]) * len(spec.slotted)


def losses(log: Path, steps: int) -> dict[str, Any]:
    """Return the validation losses at the last step, and the lowest of the run."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    looks = [line for line in lines if line["event"] == "validation"]
    last = looks[-1]
    if last["step"] != steps:
        raise BadFile(f"{log} has no validation at step {steps}; delete its folder and run again")
    kept = {key: last[key] for key in ("loss", "given", "free", "kinds")}
    return {**kept, "best": min(look["loss"] for look in looks)}


@dataclass(frozen=True)
class Row:
    """An arm over all seeds; means, nats a token.

    Attributes:
        crystal: Loss less the choice of a description, at the last step.
        difference: Of ``crystal`` to the base's; its standard error is NaN for one seed.
        time: Seconds of a step over the base's; NaN where one of them is not known.
    """

    name: str
    loss: float
    crystal: float
    best: float
    given: float
    free: float
    kinds: dict[str, float]
    difference: float
    standard_error: float
    time: float


def row_of(name: str, of_arm: Sequence[dict[str, Any]], of_base: Sequence[dict[str, Any]]) -> Row:
    """Return an arm's row; results are in the order of the seeds."""

    def mean(key: str) -> float:
        return float(np.mean([result[key] for result in of_arm]))

    ours, theirs = (
        np.array([result["loss"] - result["description"] for result in results])
        for results in (of_arm, of_base)
    )
    apart = ours - theirs
    n_seeds = len(apart)
    times = [
        result["seconds_per_step"] / base["seconds_per_step"]
        for result, base in zip(of_arm, of_base, strict=True)
        if result["seconds_per_step"] and base["seconds_per_step"]
    ]
    return Row(
        name=name,
        loss=mean("loss"),
        crystal=float(ours.mean()),
        best=mean("best"),
        given=mean("given"),
        free=mean("free"),
        kinds={
            kind: float(np.mean([result["kinds"][kind] for result in of_arm]))
            for kind in of_arm[0]["kinds"]
        },
        difference=float(apart.mean()),
        standard_error=float(apart.std(ddof=1) / math.sqrt(n_seeds)) if n_seeds > 1 else math.nan,
        time=float(np.mean(times)) if times else math.nan,
    )


def print_table(rows: Sequence[Row], failed: Mapping[str, str]) -> None:
    """Print the arms as Markdown, best first, those that failed last."""
    kinds = [kind for kind in rows[0].kinds if kind != "special"]
    header = ["arm", "difference", "crystal", "loss", "best", "given", "free", *kinds, "time"]
    print("| " + " | ".join(header) + " |")
    print("|---" * len(header) + "|")
    for row in sorted(rows, key=lambda row: row.difference):
        error = f" ± {row.standard_error:.4f}" if math.isfinite(row.standard_error) else ""
        numbers = [row.crystal, row.loss, row.best, row.given, row.free]
        cells = [
            row.name,
            f"{row.difference:+.4f}{error}",
            *(f"{number:.4f}" for number in numbers),
            *(f"{row.kinds[kind]:.4f}" for kind in kinds),
            f"{row.time:.2f}" if math.isfinite(row.time) else "",
        ]
        print("| " + " | ".join(cells) + " |")
    for name, why in failed.items():
        print(f"\n{name} gave up: {why}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), help="besides the base; all")
    parser.add_argument("--steps", type=int, default=1000, help="of every arm")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--preset", default="tiny", help="sizes of the network")
    parser.add_argument("--set", action="append", default=[], help="a setting of all arms")
    parser.add_argument("--out", type=Path, help="runs/recipe; with --quick a temporary folder")
    parser.add_argument("--stores", type=Path, default=cache_folder() / "stores")
    options = parser.parse_args()
    log_to_stderr()
    keep_freed_memory()
    scale = Scale(
        steps=24 if options.quick else options.steps,
        batch_tokens=1024 if options.quick else 4096,
        looks=2 if options.quick else 10,
        n_validation=64 if options.quick else 2048,
        preset=options.preset,
        threads=options.threads,
        settings=tuple(options.set),
    )
    chosen = options.arms or (QUICK if options.quick else list(ARMS))
    names = [BASE, *(name for name in chosen if name != BASE)]
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary if options.quick else "runs/recipe")
        report(names, options.seeds, scale, out=out, stores=options.stores)


def report(names: list[str], seeds: list[int], scale: Scale, *, out: Path, stores: Path) -> None:
    """Train what is not trained yet, and print table and JSON."""
    catalog = Catalog.load(cache=cache_folder())
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    try:
        for seed in seeds:
            for name in names:
                result = run_arm(name, seed, scale, catalog, out=out, stores=stores)
                results[name].append(result)
                say(f"{name}, seed {seed}: {result['failed'] or result['loss']}")
    except KeyboardInterrupt:
        raise SystemExit(f"stopped and saved in {out}; the same command goes on") from None
    failed = {
        name: why
        for name, of_arm in results.items()
        if (why := next((r["failed"] for r in of_arm if r["failed"]), ""))
    }
    if BASE in failed:
        raise SystemExit(f"nothing to compare with: the base gave up: {failed[BASE]}")
    base = results[BASE]
    rows = [row_of(name, of, base) for name, of in results.items() if name not in failed]
    print_table(rows, failed)
    print(
        json.dumps(
            {
                "difference": {row.name: round(row.difference, 4) for row in rows},
                "standard_error": {row.name: round(row.standard_error, 4) for row in rows}
                if len(seeds) > 1
                else None,
                "time": {r.name: round(r.time, 2) for r in rows if math.isfinite(r.time)},
                "crystal": {row.name: round(row.crystal, 4) for row in rows},
                "loss": {row.name: round(row.loss, 4) for row in rows},
                "failed": failed,
                "steps": scale.steps,
                "batch_tokens": scale.batch_tokens,
                "epochs": round(base[0]["epochs"], 2),
                "seeds": seeds,
                "n_validation": scale.n_validation,
                "threads": scale.threads,
                "device": base[0]["device"],
                "torch": torch.__version__,
                # Above the number of threads, somebody else was working too.
                "load": round(os.getloadavg()[0], 1),
            }
        )
    )


if __name__ == "__main__":
    main()
