"""``matgen sample``: crystals from a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matgen.records import Sample

_RULES = "Rules that every sample obeys"
_SCALE = "At scale"


def sample(
    ctx: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(
            help=".extxyz, .jsonl, .zip of CIFs, or a folder of CIFs (no suffix); crystals.extxyz "
            "if left out. With --on the folder of the shards, crystals."
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Samples per request.")] = 16,
    cond: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE, repeat for more; several values (3,5) make a grid, of a range (3..5) "
            "each sample gets a value of its own."
        ),
    ] = None,
    conds: Annotated[
        Path | None,
        typer.Option(help="A CSV table of requests: a column per condition, a row per request."),
    ] = None,
    formula: Annotated[
        str | None, typer.Option(help="Exactly this reduced formula.", rich_help_panel=_RULES)
    ] = None,
    contains: Annotated[
        str | None, typer.Option(help="At least these atoms: Fe2O.", rich_help_panel=_RULES)
    ] = None,
    elements: Annotated[
        str | None, typer.Option(help="None but these: Li,Fe,O.", rich_help_panel=_RULES)
    ] = None,
    exclude: Annotated[
        str | None, typer.Option(help="None of these: Tc,Pm.", rich_help_panel=_RULES)
    ] = None,
    chemical_system: Annotated[
        str | None,
        typer.Option(help="All of these, no others: Li-Fe-O.", rich_help_panel=_RULES),
    ] = None,
    n_sites: Annotated[
        str | None, typer.Option(help="Sites in the cell: 8, or 4..12.", rich_help_panel=_RULES)
    ] = None,
    n_elements: Annotated[
        str | None, typer.Option(help="Different elements: 3, or 2..4.", rich_help_panel=_RULES)
    ] = None,
    charge_neutral: Annotated[
        bool, typer.Option("--charge-neutral", help="States add up to 0.", rich_help_panel=_RULES)
    ] = False,
    unseen_formulas: Annotated[
        bool,
        typer.Option(
            "--unseen-formulas", help="No formula of the training data.", rich_help_panel=_RULES
        ),
    ] = False,
    min_distance: Annotated[
        str | None, typer.Option(help="No two sites closer, Å.", rich_help_panel=_RULES)
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(help="This cell: a,b,c,α,β,γ or a structure file.", rich_help_panel=_RULES),
    ] = None,
    lattice_system: Annotated[
        str | None, typer.Option(help="At least so symmetric: cubic …", rich_help_panel=_RULES)
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Complete the structure in this file; FILE:atoms keeps its sites alone, FILE:cell "
            "its cell.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(help="Any rule: NAME or NAME=TEXT (repeat).", rich_help_panel=_RULES),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A run directory; the shipped model if left out.")
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            help="No model: ion_exchange, random_prototypes …, the baselines to compare with."
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Known crystals that --generator starts from; the default dataset."),
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
    min_p: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Only tokens at least so likely, against the likeliest."
        ),
    ] = None,
    guidance: Annotated[
        list[str] | None,
        typer.Option(
            help="Classifier-free guidance, 1 is plain conditioning: 1.5, or for one condition "
            "band_gap=3 (repeat)."
        ),
    ] = None,
    best_of: Annotated[
        int | None, typer.Option(min=1, help="Draw so many for each sample and keep the best.")
    ] = None,
    rank_by: Annotated[
        str | None,
        typer.Option(
            help="What is best: log_prob, structure (log p of coordinates and lattice), or "
            "EVALUATOR.COLUMN, with a - in front where lower is better."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Sample i depends on (seed, i) alone.")] = 0,
    symmetrize: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Write conventional cells symmetrised at this symprec, Å."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = "auto",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what lies outside the training data.")
    ] = False,
    on: Annotated[
        str | None,
        typer.Option(
            help="Spread the work and write shards that a second call completes: processes, ray.",
            rich_help_panel=_SCALE,
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Workers of --on; 0: one per core.", rich_help_panel=_SCALE),
    ] = 0,
    shard_size: Annotated[
        int, typer.Option(min=0, help="Samples per shard; 0 chooses.", rich_help_panel=_SCALE)
    ] = 0,
    shard_format: Annotated[
        str, typer.Option(help="parquet or extxyz.", rich_help_panel=_SCALE)
    ] = "parquet",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="sampler.SETTING=VALUE (repeat).")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Sample crystals, under any subset of the conditions that the model knows.

    Examples: `matgen sample -n 64 --out crystals.extxyz`  ·
    `matgen sample --cond bandgap=1.5 --cond hhi=2.0`  ·
    `matgen sample --cond space_group=225 --cond space_group=194 -n 8 --out cifs --symmetrize 0.01`
    ·  `matgen sample --chemical-system Li-Fe-O --charge-neutral --unseen-formulas`  ·
    `matgen sample -n 100000 --on processes --out library`  ·
    `matgen sample --generator ion_exchange -n 1000 --out exchanged.extxyz`
    """
    import time

    from matgen.asking import (
        outside_training,
        parse_constraints,
        parse_guidance,
        parse_requests,
        read_requests,
        with_rules,
    )
    from matgen.commands.console import (
        catalog_of,
        log_to_stderr,
        print_json,
        progress_bar,
        say,
        warn,
    )
    from matgen.commands.stages import stoppable
    from matgen.devices import pick_device, pick_precision
    from matgen.errors import BadOptions
    from matgen.generation.generate import Progress, SamplePlan, generate
    from matgen.io.writing import FILE_SUFFIXES, check_target, write_samples
    from matgen.models.store import find_model
    from matgen.plan import resolve_ranking, resolve_sampler
    from matgen.run_dir import load_model, load_run

    started = time.perf_counter()
    log_to_stderr()
    catalog = catalog_of(ctx)
    if generator is not None:
        from matgen.commands.generating import refuse_model_flags, sample_from_generator

        refuse_model_flags(ctx)
        sample_from_generator(
            generator,
            catalog=catalog,
            dataset=dataset,
            settings=set_ or [],
            n=n,
            seed=seed,
            out=Path("crystals.extxyz") if out is None else out,
            symmetrize=symmetrize,
            json_out=json_out,
        )
        return
    if dataset is not None:
        raise BadOptions("--dataset is what --generator starts from; a model has its own")
    where = pick_device(device)
    exact = pick_precision(precision, where)
    run = load_run(find_model(model), catalog)
    conditions = run.spec.conditions
    aliases = catalog.choices.file.aliases.get("condition", {})
    if conds is not None and cond:
        raise BadOptions("--conds has the requests already; leave out --cond")
    grid = (
        parse_requests(cond or [], conditions, aliases)
        if conds is None
        else read_requests(conds, conditions, aliases)
    )
    rules = {
        "formula": formula,
        "contains": contains,
        "elements": elements,
        "exclude": exclude,
        "chemical_system": chemical_system,
        "n_sites": n_sites,
        "n_elements": n_elements,
        "charge_neutral": "" if charge_neutral else None,
        "unseen_formulas": "" if unseen_formulas else None,
        "min_distance": min_distance,
        "cell": cell,
        "lattice_system": lattice_system,
        "start": start,
    }
    written = [f"{name}={text}" for name, text in rules.items() if text is not None]
    constraints = parse_constraints([*written, *(constraint or [])], catalog, run)
    grid = with_rules(grid, constraints, conditions)
    for remark in outside_training(grid, run):
        if strict:
            raise BadOptions(f"{remark} (--strict)")
        warn(remark)
    drawing_with, score = resolve_ranking(
        catalog,
        resolve_sampler(
            catalog,
            name=sampler,
            temperatures=temperature or [],
            flags={"top_k": top_k, "top_p": top_p, "min_p": min_p},
            settings=set_ or [],
        ),
        best_of=best_of,
        rank_by=rank_by,
        conditions=conditions,
    )
    weights = parse_guidance(guidance or [], conditions, aliases)
    if on is not None:
        from matgen.commands.sharded_sampling import ShardedRequest, sample_in_shards

        if score is not None:
            raise BadOptions("--rank-by an evaluator does not work with --on; rank by log_prob")
        folder = Path("crystals") if out is None else out
        if folder.suffix.lower() in FILE_SUFFIXES:
            raise BadOptions(f"--on writes a folder of shards; {folder} looks like a file")
        if symmetrize is not None:
            raise BadOptions("--symmetrize does not work with --on; symmetrise what you keep")
        if shard_format not in {"parquet", "extxyz"}:
            raise BadOptions(f"--shard-format {shard_format}: write parquet or extxyz")
        told = sample_in_shards(
            ShardedRequest(
                run=run,
                out=folder,
                sampler=drawing_with,
                constraints=constraints,
                grid=grid,
                n=n,
                seed=seed,
                guidance=weights,
                device=where,
                precision=exact,
                file_format="parquet" if shard_format == "parquet" else "extxyz",
                shard_size=shard_size,
            ),
            catalog.build("executor", on, {"n_workers": workers} if workers else {}),  # type: ignore[arg-type]  # the role says so
            catalog,
        )
        if json_out:
            print_json(told)
        asked, failed = told["asked"], told["unfinished"]
        assert isinstance(asked, int)
        assert isinstance(failed, int)
        _tell_failures(asked, failed, ruled=bool(constraints))
        if not json_out:
            say(f"{told['unique']} different crystals, {told['duplicates']} duplicates")
            typer.echo(str(folder))
        return
    if workers or shard_size or shard_format != "parquet":
        raise BadOptions("--workers, --shard-size and --shard-format are for --on processes or ray")
    out = Path("crystals.extxyz") if out is None else out
    network, run = load_model(run.folder, catalog, device=where)
    plan = SamplePlan(
        model=network,
        sampler=drawing_with,
        constraints=constraints,
        grid=tuple(grid),
        n=n,
        seed=seed,
        guidance=weights,
        device=where,
        precision=exact,
        score=score,
    )
    asked = n * len(grid)
    check_target(out, asked)
    loaded = time.perf_counter()
    failed = 0
    seconds = 0.0
    progress = Progress(asked)
    log_mass: list[float] = []

    def noted(so_far: Progress) -> None:
        nonlocal progress
        progress = so_far

    with (
        stoppable("nothing was written; with --on processes finished shards are kept"),
        progress_bar() as bar,
    ):
        task = bar.add_task("sampling", total=asked)

        def counted() -> Iterator[Sample]:
            nonlocal failed, seconds
            drawing = generate(plan, observer=noted)
            while True:
                # Writing has its own cost (and imports): the rate is that of the model alone.
                before = time.perf_counter()
                drawn = next(drawing, None)
                seconds += time.perf_counter() - before
                if drawn is None:
                    return
                failed += drawn.crystal is None
                if drawn.crystal is not None and drawn.log_mass is not None:
                    log_mass.append(drawn.log_mass)
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
        "attempts": progress.attempts,
        "mean_log_mass": sum(log_mass) / len(log_mass) if log_mass else None,
    }
    if json_out:
        print_json(summary)
    else:
        say(f"{seconds / asked:.3f} s per crystal on {where}")
        if constraints and log_mass:
            n_tries, mass = progress.attempts, sum(log_mass) / len(log_mass)
            # Drafts of --best-of that lost are attempts, too.
            tries = "" if best_of else f"{asked - failed} of {n_tries} attempts finished; "
            say(
                f"rules: {tries}the model gave what they allow {mass:.1f} nats of its "
                "log-probability"
            )
    _tell_failures(asked, failed, ruled=bool(constraints))
    if not json_out:
        typer.echo(str(out))


def _tell_failures(asked: int, failed: int, *, ruled: bool) -> None:
    """Warn of samples that are not there.

    Raises:
        BadOptions: rules were asked for, and no sample met them.
    """
    from matgen.commands.console import warn
    from matgen.errors import BadOptions

    if failed:
        warn(
            f"{failed} of {asked} samples are not there: the token limit was reached, or the rules "
            "left no token in any attempt; .jsonl output and shards say which"
        )
    if failed == asked and ruled:
        raise BadOptions(
            "no sample meets these rules together; relax one, or give more tries "
            "(--set sampler.retries=100)"
        )
