"""One training run from flags to a checkpoint: what ``matgen train`` does after parsing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import ValidationError

from matgen.commands.console import cache_folder, print_json, say
from matgen.commands.launch import Launch, first_alone
from matgen.errors import BadOptions

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.data.token_store import TokenStore
    from matgen.nn.crystal_model import CrystalModel
    from matgen.plan import TrainConfig, TrainPlan
    from matgen.roles.dataset import DatasetSource
    from matgen.training.ranks import Ranks


@dataclass(frozen=True)
class TrainFlags:
    """What was typed; None where nothing was."""

    names: Mapping[str, str | None]
    conditions: tuple[str, ...] | None
    columns: tuple[str, ...]
    settings: tuple[str, ...]
    training: Mapping[str, float | str | None]

    def over(self, config: Path | None) -> TrainConfig:
        """Return the flags over a run.toml."""
        from matgen.plan import TrainConfig
        from matgen.plan_parts import parse_settings

        below = TrainConfig.from_toml(config) if config else TrainConfig()
        given: dict[str, Any] = {k: v for k, v in self.names.items() if v is not None}
        if self.conditions is not None:
            given["conditions"] = self.conditions
        if self.columns:
            given["columns"] = self.columns
        given["settings"] = {**below.settings, **parse_settings(self.settings)}
        chosen = {k: v for k, v in self.training.items() if v is not None}
        given["training"] = {**below.training, **chosen}
        return below.model_copy(update=given)


def start_training(
    flags: TrainFlags,
    catalog: Catalog,
    *,
    out: Path | None,
    config: Path | None,
    stores: Path | None,
    device: str,
    launch: Launch,
    dry_run: bool,
    json_out: bool,
) -> None:
    """Plan, prepare the data, train, and say where the checkpoint is."""
    where = launch.device(device)
    with launch.joined(where) as ranks:
        _start(
            flags,
            catalog,
            ranks,
            out=out,
            config=config,
            stores=stores,
            where=where,
            dry_run=dry_run,
            json_out=json_out,
        )


def _start(
    flags: TrainFlags,
    catalog: Catalog,
    ranks: Ranks,
    *,
    out: Path | None,
    config: Path | None,
    stores: Path | None,
    where: str,
    dry_run: bool,
    json_out: bool,
) -> None:
    from matgen.commands.fine_tuning import start_again, try_start
    from matgen.model_spec import ModelSpec
    from matgen.plan import resolve_training
    from matgen.run_dir import describe_run, save_run
    from matgen.training.memory import largest_batch

    asked = flags.over(config)
    plan = resolve_training(asked, catalog, gpu=where.startswith("cuda"))
    opened = first_alone(ranks, lambda: _stores(plan, catalog, stores))
    if stores is not None:
        dataset = _prepared_from(opened["train"], catalog, plan if asked.dataset else None)
        plan = replace(plan, dataset=dataset)
    spec = ModelSpec(
        opened["train"].representation,
        plan.spec.ordering,
        plan.spec.backbone,
        opened["train"].conditions,
    )
    base = None
    if plan.base is not None:
        base = first_alone(ranks, lambda: try_start(plan, spec, opened["train"]))
    settings = plan.settings.model_copy(update={"device": where})
    if plan.fits_batch:
        settings = ranks.from_first(largest_batch(spec, settings, n_ranks=ranks.size))
        say(f"batches of {settings.batch_tokens} positions")
    plan = replace(plan, spec=spec, settings=settings)
    if dry_run:
        if ranks.is_first:
            _print_plan(plan, opened, n_ranks=ranks.size, json_out=json_out)
        return
    named = out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{plan.spec.ordering.name}"
    folder: Path = ranks.from_first(named)
    if ranks.is_first and (folder / "run.json").exists():
        raise BadOptions(
            f"{folder} holds a run already; go on with --resume {folder}, or choose another --out"
        )
    info = describe_run(
        catalog,
        spec,
        plan.dataset,
        plan.settings.model_dump(mode="json"),
        {split: _data_info(store) for split, store in opened.items()},
    )
    start = None
    if base is not None:
        info["from"] = base
        start = start_again(base, folder, catalog)
    if ranks.is_first:
        save_run(folder, info, spec)
        # Tells a run that was killed before its first one from a copy that left them out.
        (folder / "checkpoints").mkdir(exist_ok=True)
    _run(plan, opened, folder, start, ranks, json_out=json_out)


def resume_training(
    folder: Path,
    catalog: Catalog,
    *,
    changes: Mapping[str, float | None],
    settings: tuple[str, ...],
    device: str,
    launch: Launch,
    json_out: bool,
) -> None:
    """Go on with a run where its newest whole checkpoint is.

    Args:
        changes: Limits that may differ from the first time (steps, minutes, epochs).
        settings: ``training.SETTING=VALUE`` texts; the engine refuses what would change the result.
    """
    where = launch.device(device)
    with launch.joined(where) as ranks:
        _resume(
            folder,
            catalog,
            ranks,
            changes={**changes, **_training_settings(settings)},
            where=where,
            json_out=json_out,
        )


def _training_settings(texts: tuple[str, ...]) -> dict[str, Any]:  # values of any TOML type
    """Return the training settings that ``--set`` gives to a run that goes on."""
    from matgen.plan_parts import parse_settings

    given = parse_settings(texts)
    if others := [key for key in given if not key.startswith("training.")]:
        raise BadOptions(
            f"--set {others[0]} cannot be given with --resume: the run has its components already"
        )
    return {key.removeprefix("training."): value for key, value in given.items()}


def _resume(
    folder: Path,
    catalog: Catalog,
    ranks: Ranks,
    *,
    changes: Mapping[str, Any],  # values of any TOML type
    where: str,
    json_out: bool,
) -> None:
    from matgen.commands.fine_tuning import start_again
    from matgen.data.token_store import TokenStore
    from matgen.plan import TrainPlan
    from matgen.roles.dataset import DatasetSource
    from matgen.run_dir import load_run
    from matgen.training.settings import TrainingSettings

    run = load_run(folder, catalog)
    # Killed before its first checkpoint, a run has an empty folder for them, and starts again.
    if (folder / "model.safetensors").exists() and not (folder / "checkpoints").is_dir():
        raise BadOptions(f"{folder} has no checkpoints to go on from; train it anew with --out")
    given = {k: v for k, v in changes.items() if v is not None}
    try:
        settings = TrainingSettings.model_validate(
            {**run.info["training"], **given, "device": where}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise BadOptions(
            f"training.{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
        ) from None
    dataset = catalog.restore(run.info["dataset"])
    assert isinstance(dataset, DatasetSource)
    # What the data lack they lacked when the run was started.
    labels = frozenset(condition.label for condition in run.spec.conditions)
    plan = TrainPlan(run.spec, dataset, settings, optional=labels)
    saved = {split: run.info["data"][split] for split in ("train", "val")}
    if all((Path(info["path"]) / "index.json").exists() for info in saved.values()):
        opened = {s: TokenStore.open(Path(info["path"]), catalog) for s, info in saved.items()}
    else:
        opened = first_alone(ranks, lambda: _stores(plan, catalog, None))
    for split, store in opened.items():
        if store.fingerprint != saved[split]["fingerprint"]:
            raise BadOptions(
                f"the {split} data changed since {folder} was started (token store "
                f"{saved[split]['fingerprint']}, now {store.fingerprint}); start a new run"
            )
    base = run.info.get("from")
    start = None if base is None else start_again(base, folder, catalog)
    _run(plan, opened, folder, start, ranks, json_out=json_out)


def _stores(plan: TrainPlan, catalog: Catalog, stores: Path | None) -> dict[str, TokenStore]:
    from matgen.commands.preparing import open_stores, prepare_stores

    if stores is not None:
        return open_stores(plan, stores, catalog)
    return prepare_stores(plan, cache_folder() / "stores" / plan.dataset.name, catalog)


def _prepared_from(store: TokenStore, catalog: Catalog, plan: TrainPlan | None) -> DatasetSource:
    """Return the dataset of a prepared store, which need not be on this machine.

    Args:
        plan: Whose dataset was asked for by name, if any was.

    Raises:
        BadOptions: the store is of another dataset.
    """
    from matgen.roles.dataset import DatasetSource

    made = store.index["dataset"]
    if plan is not None and (wanted := catalog.dump(plan.dataset)) != made:
        raise BadOptions(
            f"{store.path} was prepared from {made['use']} {made['settings']}, this run asks for "
            f"{wanted['use']} {wanted['settings']}; prepare that, or leave --dataset out"
        )
    dataset = catalog.restore(made)
    assert isinstance(dataset, DatasetSource)
    return dataset


def _data_info(store: TokenStore) -> dict[str, object]:
    from matgen.commands.preparing import store_report

    return {**store_report(store), "path": str(store.path.resolve())}


def _run(
    plan: TrainPlan,
    opened: Mapping[str, TokenStore],
    folder: Path,
    start: Callable[[CrystalModel], None] | None,
    ranks: Ranks,
    *,
    json_out: bool,
) -> None:
    from matgen.commands.allocator import keep_freed_memory
    from matgen.commands.observers import Observers
    from matgen.commands.tensorboard import TensorBoard, installed_writer
    from matgen.commands.train_progress import train_progress
    from matgen.training.loop import train

    keep_freed_memory()
    if not ranks.is_first:
        train(
            plan.spec,
            opened["train"],
            opened["val"],
            plan.settings,
            folder,
            observer=Observers(),
            ranks=ranks,
            start=start,
        )
        return
    board = TensorBoard(folder / "tensorboard", installed_writer())
    with train_progress() as progress, board:
        result = train(
            plan.spec,
            opened["train"],
            opened["val"],
            plan.settings,
            folder,
            observer=Observers(progress, board),
            ranks=ranks,
            start=start,
        )
    if not progress.n_steps:
        say(f"nothing left to do at step {result.step}; raise --epochs, --max-steps or minutes")
    if result.interrupted:
        say(f"stopped and saved at step {result.step}; go on with: matgen train --resume {folder}")
    if json_out:
        print_json({"run": str(folder), **asdict(result)})
        return
    typer.echo(str(folder))


def _print_plan(
    plan: TrainPlan, opened: Mapping[str, TokenStore], *, n_ranks: int, json_out: bool
) -> None:
    """Print what would be trained: components, data, parameters, memory."""
    from matgen.nn.crystal_model import CrystalModel
    from matgen.training.memory import expected_memory

    spec, train = plan.spec, opened["train"]
    expected = expected_memory(spec, plan.settings, n_ranks=n_ranks)
    told: dict[str, object] = {
        "from": plan.base.name if plan.base else None,
        "dataset": plan.dataset.name,
        "train_crystals": len(train),
        "validation_crystals": len(opened["val"]),
        "dropped": train.index["dropped"],
        "tokens_per_epoch": train.n_tokens,
        "representation": spec.representation.name,
        "vocabulary": len(spec.representation.vocabulary()),
        "ordering": spec.ordering.name,
        "backbone": {"name": spec.backbone.name, **spec.backbone.model_dump(mode="json")},
        "conditions": [condition.label for condition in spec.conditions],
        "parameters": CrystalModel(spec).n_parameters,
        "expected_memory_mb": {
            part: round(size / 1e6)
            for part, size in {**asdict(expected), "total": expected.total}.items()
        },
        "training": plan.settings.model_dump(mode="json"),
    }
    if json_out:
        print_json(told)
        return
    for key, value in told.items():
        typer.echo(f"{key}: {value}")
