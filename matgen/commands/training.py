"""One training run from flags to a checkpoint: what ``matgen train`` does after parsing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from matgen.commands.console import cache_folder, print_json, say
from matgen.commands.devices import pick_device
from matgen.errors import BadOptions

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.data.token_store import TokenStore
    from matgen.plan import TrainConfig, TrainPlan
    from matgen.roles.dataset import DatasetSource


@dataclass(frozen=True)
class TrainFlags:
    """What was typed; None where nothing was."""

    names: Mapping[str, str | None]
    conditions: tuple[str, ...] | None
    columns: tuple[str, ...]
    settings: tuple[str, ...]
    training: Mapping[str, float | None]

    def over(self, config: Path | None) -> TrainConfig:
        """Return the flags over a run.toml."""
        from matgen.plan import TrainConfig, parse_settings

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
    dry_run: bool,
    json_out: bool,
) -> None:
    """Plan, prepare the data, train, and say where the checkpoint is."""
    from matgen.model_spec import ModelSpec
    from matgen.plan import resolve_training
    from matgen.run_dir import describe_run, save_run

    where = pick_device(device)
    asked = flags.over(config)
    plan = resolve_training(asked, catalog, gpu=where.startswith("cuda"))
    opened = _stores(plan, catalog, stores)
    if stores is not None:
        dataset = _prepared_from(opened["train"], catalog, plan if asked.dataset else None)
        plan = type(plan)(plan.spec, dataset, plan.settings)
    spec = ModelSpec(
        opened["train"].representation,
        plan.spec.ordering,
        plan.spec.backbone,
        opened["train"].conditions,
    )
    plan = type(plan)(spec, plan.dataset, plan.settings.model_copy(update={"device": where}))
    if dry_run:
        _print_plan(plan, opened, json_out=json_out)
        return
    folder = out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{plan.spec.ordering.name}"
    if (folder / "run.json").exists():
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
    save_run(folder, info, spec)
    _run(plan, opened, folder, json_out=json_out)


def resume_training(
    folder: Path,
    catalog: Catalog,
    *,
    changes: Mapping[str, float | None],
    device: str,
    json_out: bool,
) -> None:
    """Go on with a run where its newest whole checkpoint is.

    Args:
        changes: Limits that may differ from the first time (steps, minutes, epochs).
    """
    from matgen.data.token_store import TokenStore
    from matgen.plan import TrainPlan
    from matgen.roles.dataset import DatasetSource
    from matgen.run_dir import load_run
    from matgen.training.settings import TrainingSettings

    run = load_run(folder, catalog)
    # Killed before its first checkpoint, a run has neither and starts again from its first step.
    if (folder / "model.safetensors").exists() and not (folder / "checkpoints").is_dir():
        raise BadOptions(f"{folder} has no checkpoints to go on from; train it anew with --out")
    where = pick_device(device)
    given = {k: v for k, v in changes.items() if v is not None}
    settings = TrainingSettings.model_validate({**run.info["training"], **given, "device": where})
    dataset = catalog.restore(run.info["dataset"])
    assert isinstance(dataset, DatasetSource)
    plan = TrainPlan(run.spec, dataset, settings)
    saved = {split: run.info["data"][split] for split in ("train", "val")}
    if all((Path(info["path"]) / "index.json").exists() for info in saved.values()):
        opened = {s: TokenStore.open(Path(info["path"]), catalog) for s, info in saved.items()}
    else:
        opened = _stores(plan, catalog, None)
    for split, store in opened.items():
        if store.fingerprint != saved[split]["fingerprint"]:
            raise BadOptions(
                f"the {split} data changed since {folder} was started (token store "
                f"{saved[split]['fingerprint']}, now {store.fingerprint}); start a new run"
            )
    _run(plan, opened, folder, json_out=json_out)


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
    plan: TrainPlan, opened: Mapping[str, TokenStore], folder: Path, *, json_out: bool
) -> None:
    from matgen.commands.allocator import keep_freed_memory
    from matgen.commands.train_progress import TrainProgress
    from matgen.training.loop import train

    keep_freed_memory()
    with TrainProgress() as progress:
        result = train(
            plan.spec,
            opened["train"],
            opened["val"],
            plan.settings,
            folder,
            observer=progress,
        )
    if not progress.n_steps:
        say(f"nothing left to do at step {result.step}; raise --epochs, --max-steps or minutes")
    if result.interrupted:
        say(f"stopped and saved at step {result.step}; go on with: matgen train --resume {folder}")
    if json_out:
        print_json({"run": str(folder), **asdict(result)})
        return
    typer.echo(str(folder))


def _print_plan(plan: TrainPlan, opened: Mapping[str, TokenStore], *, json_out: bool) -> None:
    """Print what would be trained: components, data, parameters, memory."""
    from matgen.nn.crystal_model import CrystalModel
    from matgen.training.memory import expected_memory

    spec, train = plan.spec, opened["train"]
    told: dict[str, object] = {
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
        "expected_memory_mb": round(expected_memory(spec, plan.settings) / 1e6),
        "training": plan.settings.model_dump(mode="json"),
    }
    if json_out:
        print_json(told)
        return
    for key, value in told.items():
        typer.echo(f"{key}: {value}")
