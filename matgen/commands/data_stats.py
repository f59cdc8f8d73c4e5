"""``matgen data stats``: what a dataset holds, as figures and as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer


def stats(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Registered dataset, or a file or folder.")],
    split: Annotated[
        str | None, typer.Option(help="Only this split; all of them if left out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figures; DATASET-stats if left out.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes every core.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="dataset.SETTING=VALUE (repeat).")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Draw what a dataset holds: elements, sites, space groups, cells, density, every property.

    Writes PNG and SVG, an `index.html` that shows them and `summary.json`.

    Examples: `matgen data stats mp_le20`  ·
    `matgen data stats mine.parquet --split train --out figures`
    """
    from matgen.atomic import write_json
    from matgen.commands.console import catalog_of, print_json, print_table, say
    from matgen.commands.data_sources import (
        chosen_split,
        dataset_of,
        executor_of,
        left_out_lines,
        say_unstated,
        short_name,
    )
    from matgen.commands.stages import stage_bars, stoppable
    from matgen.data.figure_page import table_rows
    from matgen.data.figures import draw
    from matgen.data.statistics import gather

    catalog = catalog_of(ctx)
    source = dataset_of(catalog, dataset, set_ or [])
    splits = chosen_split(source, split)
    folder = out or Path(f"{short_name(dataset)}-stats")
    with stoppable(f"{folder} is as it was"):
        with stage_bars() as show, executor_of(catalog, workers).open() as pool:
            found = gather(source, splits, pool, show)
        summary = found.to_json()
        with _filling(folder) as temporary:
            draw(found, temporary)
            write_json(temporary / "summary.json", summary)
    if json_out:
        print_json(summary)
        return
    counts = ", ".join(f"{name} {count:,}" for name, count in found.counts.items())
    say(f"{dataset}: {found.n_crystals:,} crystals ({counts}), {len(found.elements)} elements")
    say_unstated(source)
    for line in left_out_lines(found.left_out, found.first_left_out):
        say(line)
    header = ("property", "unit", "known", "missing", "lowest", "median", "mean", "highest")
    print_table(header, table_rows(found))
    say(f"figures, summary.json and a page that shows them in {folder}")
    typer.echo(str(folder / "index.html"))


@contextmanager
def _filling(folder: Path) -> Iterator[Path]:
    """Give a temporary folder; what is in it comes to ``folder`` when the block ends well.

    Files of other names that are there already stay.
    """
    from tempfile import TemporaryDirectory

    from matgen.atomic import replacing_folder

    if not folder.exists():
        with replacing_folder(folder) as temporary:
            yield temporary
        return
    with TemporaryDirectory(prefix=".stats.", dir=folder) as name:
        yield Path(name)
        for path in sorted(Path(name).iterdir()):
            path.replace(folder / path.name)
