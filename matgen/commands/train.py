"""``matgen train``: from a dataset to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; runs/<time>-<ordering> if left out.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Start from the best weights of this run (default: the shipped model); --cond "
            "adds to its conditions.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A registered dataset, or a file or folder of crystals.")
    ] = None,
    representation: Annotated[str | None, typer.Option(help="How crystals become tokens.")] = None,
    ordering: Annotated[
        str | None, typer.Option(help="Order of the sites: high, low, xyz, random …")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="The network.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Its size: tiny, small, paper; small without a GPU.")
    ] = None,
    cond: Annotated[
        list[str] | None, typer.Option(help="Condition to learn (repeat); default: all it can.")
    ] = None,
    cond_column: Annotated[
        list[str] | None,
        typer.Option(help="NAME:UNIT of a further numeric column to learn, dielectric:1."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many steps.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop, saved, after this many minutes.")
    ] = None,
    batch_tokens: Annotated[
        str | None, typer.Option(help="Tokens per step, or auto: what fits into memory.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Of AdamW.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and dropout.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    stores: Annotated[
        Path | None,
        typer.Option(help="Token stores from `matgen data prepare`; no pymatgen needed."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A run.toml; flags win over it.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="COMPONENT.SETTING=VALUE (repeat): backbone.layers=6."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run directory, exactly where it stopped.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the plan, parameters and memory; train nothing."),
    ] = False,
    json_out: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    world_size: Annotated[int, typer.Option(envvar="WORLD_SIZE", hidden=True)] = 1,
    rank: Annotated[int, typer.Option(envvar="RANK", hidden=True)] = 0,
    local_rank: Annotated[int, typer.Option(envvar="LOCAL_RANK", hidden=True)] = 0,
) -> None:
    """Train a model. Ctrl-C saves; `--resume RUN` goes on bit for bit.

    Examples: `matgen train --ordering high`  ·
    `matgen train --preset tiny --max-minutes 10 --out runs/first`  ·
    `matgen train --dataset mine.extxyz --cond density --cond-column dielectric:1`  ·
    `matgen train --from default --dataset mine.extxyz --cond-column dielectric:1`  ·
    `matgen train --resume runs/first`  ·
    `torchrun --nproc-per-node 4 cli.py train --out runs/four`
    """
    from matgen.commands.console import catalog_of, log_to_stderr
    from matgen.commands.launch import Launch
    from matgen.commands.training import TrainFlags, resume_training, start_training
    from matgen.errors import BadOptions

    launch = Launch(rank, local_rank, world_size)
    log_to_stderr()
    catalog = catalog_of(ctx)
    if resume is not None:
        fixed = {
            "--out": out,
            "--from": from_,
            "--dataset": dataset,
            "--representation": representation,
            "--ordering": ordering,
            "--backbone": backbone,
            "--preset": preset,
            "--cond": cond,
            "--cond-column": cond_column,
            "--batch-tokens": batch_tokens,
            "--learning-rate": learning_rate,
            "--seed": seed,
            "--stores": stores,
            "--config": config,
            "--dry-run": dry_run or None,
        }
        if given := [flag for flag, value in fixed.items() if value is not None]:
            raise BadOptions(
                f"--resume goes on with what {resume} was started with, so {', '.join(given)} "
                "cannot be given; --epochs, --max-steps, --max-minutes and --device can, and --set "
                "training.… of what changes no result"
            )
        resume_training(
            resume,
            catalog,
            changes={"epochs": epochs, "max_steps": max_steps, "max_minutes": max_minutes},
            settings=tuple(set_ or ()),
            device=device,
            launch=launch,
            json_out=json_out,
        )
        return
    flags = TrainFlags(
        names={
            "from_": from_,
            "dataset": dataset,
            "representation": representation,
            "ordering": ordering,
            "backbone": backbone,
            "preset": preset,
        },
        conditions=tuple(cond) if cond else None,
        columns=tuple(cond_column or ()),
        settings=tuple(set_ or ()),
        training={
            "epochs": epochs,
            "max_steps": max_steps,
            "max_minutes": max_minutes,
            "batch_tokens": batch_tokens,
            "learning_rate": learning_rate,
            "seed": seed,
        },
    )
    start_training(
        flags,
        catalog,
        out=out,
        config=config,
        stores=stores,
        device=device,
        launch=launch,
        dry_run=dry_run,
        json_out=json_out,
    )
