"""``matgen data split``: a dataset split anew, never the same structure on two sides."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class By(StrEnum):
    """What is kept on one side."""

    MATERIAL = "material"
    FORMULA = "formula"
    SYSTEM = "system"
    TIME = "time"


def split(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Registered dataset, or a file or folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write; must not be there yet.")],
    by: Annotated[By, typer.Option(help="What stays on one side, or time.")] = By.MATERIAL,
    val: Annotated[float, typer.Option(help="Share held out for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share held out for the test.")] = 0.1,
    time_column: Annotated[
        str, typer.Option(help="Property that says when, for --by time.")
    ] = "year",
    seed: Annotated[int, typer.Option(help="Other seeds, other sides.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes every core.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="dataset.SETTING=VALUE (repeat).")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Split a dataset anew and write it as a folder that `--dataset` takes.

    The same structure is never on two sides. `material` keeps together what has one reduced
    formula and one structure (StructureMatcher) or one space group (symprec 0.01 or 0.1 Å),
    `formula` one reduced formula, `system` one set of elements. `time` trains on the past and
    leaves out later rows of earlier materials. Sides depend on the seed and the crystals, not on
    the order of the rows.

    Examples: `matgen data split mine.parquet --out mine-split`  ·
    `matgen data split mp_le20 --by system --val 0.05 --test 0.05 --out by-system`  ·
    `matgen data split mine-imported --by time --time-column year --out by-year`
    """
    from matgen.commands.console import catalog_of, print_json, print_table, say, warn
    from matgen.commands.data_sources import dataset_of, executor_of, say_unstated
    from matgen.commands.stages import stage_bars, stoppable
    from matgen.data.imported_folder import PROBLEMS
    from matgen.data.split_folder import write_split
    from matgen.data.splitting import SplitPlan

    catalog = catalog_of(ctx)
    source = dataset_of(catalog, dataset, set_ or [])
    plan = SplitPlan(by.value, val, test, seed, time_column)
    with (
        stoppable(f"{out} was not written"),
        stage_bars() as show,
        executor_of(catalog, workers).open() as pool,
    ):
        made = write_split(
            plan, source, out, pool, show, made_from={"dataset": catalog.dump(source)}
        )
    if json_out:
        print_json({"folder": str(out), "fingerprint": made.fingerprint, "counts": made.counts})
        return
    total = sum(made.counts.values())
    print_table(
        (f"split by {by.value}", "crystals", "share"),
        [
            (kind, f"{count:,}", f"{100.0 * count / total if total else 0.0:.1f} %")
            for kind, count in made.counts.items()
        ],
    )
    say_unstated(source)
    for name in made.splits:
        if not made.counts[name]:
            warn(f"{name} got no crystal; take another share, seed or --by")
    if set(made.counts) - set(made.splits):
        say(f"what is in no split, and why: {out / PROBLEMS}")
    typer.echo(str(out))
