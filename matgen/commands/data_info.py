"""``matgen data list`` and ``matgen data info``: which datasets there are, and what is in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.component import Component


def list_datasets(
    ctx: typer.Context,
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the registered datasets: what each is, its splits, whether it is on this machine.

    Examples: `matgen data list`  ·  `matgen data list --json`
    """
    from matgen.commands.console import catalog_of, print_json, print_table

    catalog = catalog_of(ctx)
    rows = [_row(catalog, name) for name in catalog.names("dataset")]
    if json_out:
        print_json(rows)
        return
    print_table(
        ("dataset", "what it is", "splits", "on this machine"),
        [(r["name"], r["about"], ", ".join(r["splits"]), r["here"]) for r in rows],
    )


def info(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Registered dataset, or a file or folder.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="dataset.SETTING=VALUE (repeat).")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a dataset has: splits, properties with units and sources, what is missing.

    Reads every record once.

    Examples: `matgen data info mp_le20`  ·  `matgen data info mine.parquet --json`  ·
    `matgen data info mp_le20 --set dataset.rows=all`
    """
    from matgen.commands.console import catalog_of, print_json, print_table, say
    from matgen.commands.data_sources import dataset_of, left_out_lines, say_unstated
    from matgen.commands.stages import stage_bars, stoppable
    from matgen.data.contents import contents

    source = dataset_of(catalog_of(ctx), dataset, set_ or [])
    with stoppable("nothing was written"), stage_bars() as show:
        found = contents(source, show)
    told = found.to_json()
    if json_out:
        print_json(told)
        return
    rows = [
        (
            name,
            unit,
            "; ".join(map(str, source.label_sources[name])),
            *(found.missing_share(name, split) for split in found.counts),
        )
        for name, unit in source.units.items()
    ]
    print_table(
        ("property", "unit", "from", *(f"missing in {split}" for split in found.counts)), rows
    )
    for split, count in found.counts.items():
        typer.echo(f"{split}: {count:,} crystals")
    say_unstated(source)
    for line in left_out_lines(found.left_out, found.first_left_out):
        say(line)
    for reference in found.cites:
        typer.echo(f"cite: {reference}")
    typer.echo(f"licence: {found.licence or 'not stated'}")
    typer.echo(f"fingerprint: {found.fingerprint}")


def _row(catalog: Catalog, name: str) -> dict[str, Any]:  # JSON values
    from matgen.errors import BadOptions
    from matgen.roles.dataset import DatasetSource

    cls = catalog.get("dataset", name)
    about = (cls.__doc__ or "").strip().partition("\n")[0]
    row = {"name": name, "about": about, "splits": [], "settings": list(cls.model_fields)}
    try:
        source = catalog.build("dataset", name)
    except BadOptions:
        needed = [key for key, field in cls.model_fields.items() if field.is_required()]
        return {**row, "here": f"needs {', '.join(needed)}"}
    assert isinstance(source, DatasetSource)
    here = _here(source)
    return {**row, "splits": list(source.splits) if here == "yes" else [], "here": here}


def _here(source: Component) -> str:
    from matgen.errors import UserError
    from matgen.roles.dataset import DatasetSource, FetchedDataset

    if isinstance(source, FetchedDataset) and not source.is_fetched():
        return f"no: matgen data fetch {source.name}"
    assert isinstance(source, DatasetSource)
    try:
        source.fingerprint()
    except UserError as error:
        return f"no: {error}"
    return "yes"
