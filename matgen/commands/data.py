"""``matgen data``: token stores, made once and reused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from matgen.commands.data_check import check
from matgen.commands.data_fetch import fetch
from matgen.commands.data_import import import_data
from matgen.commands.data_info import info, list_datasets
from matgen.commands.data_split import split as split_data
from matgen.commands.data_stats import stats

app = typer.Typer(
    help="Prepare and inspect data.", no_args_is_help=True, rich_markup_mode="markdown"
)


app.command()(fetch)
app.command("import")(import_data)
app.command("list")(list_datasets)
app.command()(info)
app.command()(stats)
app.command()(check)
app.command("split")(split_data)


@app.callback()
def data() -> None:
    """Prepare and inspect data."""


@app.command()
def prepare(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder to hold the stores of both splits.")],
    dataset: Annotated[str | None, typer.Option(help="Registered dataset, or a file.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="For training that starts from this run."),
    ] = None,
    representation: Annotated[str | None, typer.Option(help="How crystals become tokens.")] = None,
    ordering: Annotated[str | None, typer.Option(help="Order of the sites.")] = None,
    cond: Annotated[
        list[str] | None, typer.Option(help="Condition to learn (repeat); default: all it can.")
    ] = None,
    cond_column: Annotated[
        list[str] | None, typer.Option(help="NAME:UNIT of a further numeric column.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="COMPONENT.SETTING=VALUE (repeat).")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the token stores of a dataset, for training where pymatgen is not installed.

    Example: `matgen data prepare --ordering xyz --out stores` then
    `matgen train --stores stores`
    """
    from matgen.commands.console import catalog_of, print_json, say
    from matgen.commands.preparing import prepare_stores, store_report
    from matgen.commands.stages import stoppable
    from matgen.plan import TrainConfig, resolve_training
    from matgen.plan_parts import parse_settings

    catalog = catalog_of(ctx)
    config = TrainConfig(
        from_=from_,
        dataset=dataset,
        representation=representation,
        ordering=ordering,
        conditions=tuple(cond) if cond else None,
        columns=tuple(cond_column or ()),
        settings=parse_settings(set_ or []),
    )
    plan = resolve_training(config, catalog, gpu=False)
    with stoppable("what is done is kept, and the same command goes on from there"):
        stores = prepare_stores(plan, out, catalog)
    reports = {split: store_report(store) for split, store in stores.items()}
    if json_out:
        print_json(reports)
        return
    for split, report in reports.items():
        say(f"{split}: {report['n_sequences']} crystals, {report['n_tokens']} tokens")
        typer.echo(str(stores[split].path))
