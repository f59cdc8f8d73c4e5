"""``matgen sample``: crystals from a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matgen.records import Sample


def sample(
    ctx: typer.Context,
    out: Annotated[
        Path,
        typer.Option(help=".extxyz, .jsonl, .zip of CIFs, or a folder of CIFs (no suffix)."),
    ] = Path("crystals.extxyz"),
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Samples per request.")] = 16,
    cond: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE, repeat for more; several values of one make a grid."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A run directory; the shipped model if left out.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="How sequences are drawn.")] = None,
    temperature: Annotated[
        list[str] | None,
        typer.Option(help="0.8, or per token kind: coordinate=0.5 (repeat)."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=0, help="Only the k likeliest; 0 is off.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Only the likeliest of this mass.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Classifier-free guidance; 1 is plain conditioning.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Sample i depends on (seed, i) alone.")] = 0,
    symmetrize: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Write conventional cells symmetrised at this symprec, Å."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="sampler.SETTING=VALUE (repeat).")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Sample crystals, under any subset of the conditions that the model knows.

    Examples: `matgen sample -n 64 --out crystals.extxyz`  ·
    `matgen sample --cond bandgap=1.5 --cond hhi=2.0`  ·
    `matgen sample --cond space_group=225 --cond space_group=194 -n 8 --out cifs --symmetrize 0.01`
    """
    import time

    from matgen.commands.console import (
        catalog_of,
        log_to_stderr,
        print_json,
        progress_bar,
        say,
        warn,
    )
    from matgen.commands.devices import pick_device, pick_precision
    from matgen.generation.generate import SamplePlan, generate
    from matgen.io.writing import check_target, write_samples
    from matgen.plan import outside_training, parse_requests, resolve_sampler
    from matgen.run_dir import load_model, shipped_model

    started = time.perf_counter()
    log_to_stderr()
    catalog = catalog_of(ctx)
    where = pick_device(device)
    network, run = load_model(model or shipped_model(), catalog, device=where)
    grid = parse_requests(
        cond or [], run.spec.conditions, catalog.choices.file.aliases.get("condition", {})
    )
    for remark in outside_training(grid, run):
        warn(remark)
    plan = SamplePlan(
        model=network,
        sampler=resolve_sampler(
            catalog,
            name=sampler,
            temperatures=temperature or [],
            flags={"top_k": top_k, "top_p": top_p},
            settings=set_ or [],
        ),
        grid=tuple(grid),
        n=n,
        seed=seed,
        guidance=guidance,
        device=where,
        precision=pick_precision(precision, where),
    )
    asked = n * len(grid)
    check_target(out, asked)
    loaded = time.perf_counter()
    failed = 0
    seconds = 0.0
    with progress_bar() as bar:
        task = bar.add_task("sampling", total=asked)

        def counted() -> Iterator[Sample]:
            nonlocal failed, seconds
            drawing = generate(plan)
            while True:
                # Writing has its own cost (and imports): the rate is that of the model alone.
                before = time.perf_counter()
                drawn = next(drawing, None)
                seconds += time.perf_counter() - before
                if drawn is None:
                    return
                failed += drawn.crystal is None
                bar.advance(task)
                yield drawn

        write_samples(out, counted(), asked=asked, symmetrize=symmetrize)
    summary = {
        "out": str(out),
        "asked": asked,
        "written": asked - failed,
        "unfinished": failed,
        "seconds": round(time.perf_counter() - loaded, 3),
        "seconds_per_crystal": round(seconds / asked, 4),
        "start_up_seconds": round(loaded - started, 3),
        "model": str(run.folder),
        "seed": seed,
    }
    if json_out:
        print_json(summary)
        return
    say(f"{seconds / asked:.3f} s per crystal on {where}")
    if failed:
        warn(f"{failed} of {asked} samples reached the token limit unfinished")
    typer.echo(str(out))
