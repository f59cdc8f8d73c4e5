"""How commands speak: errors, tables and progress bars, all on stderr but the results."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from matgen.errors import MatgenError

if TYPE_CHECKING:
    from rich.progress import Progress

    from matgen.catalog import Catalog


def fail(error: MatgenError) -> NoReturn:
    """Print an error the user can mend as one line and leave with 2."""
    typer.secho(f"error: {error}", fg="red", err=True)
    raise typer.Exit(2)


def say(text: str) -> None:
    """Print a remark to stderr."""
    typer.echo(text, err=True)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    typer.secho(f"warning: {text}", fg="yellow", err=True)


def print_json(value: object) -> None:
    """Print a machine-readable result to stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table to stdout; plain and unwrapped where stdout is no terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False)
    console.print(table)


def progress_bar(*columns: str) -> Progress:
    """Return a progress bar on stderr with time left; ``columns`` are further format texts."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        *(TextColumn(column) for column in columns),
        console=Console(stderr=True),
        transient=False,
    )


def log_to_stderr() -> None:
    """Show the library's log messages, one line each."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("matgen").setLevel(logging.INFO)
    # It tells of every crystal near its tolerance, which nobody can or need do anything about.
    logging.getLogger("moyo").setLevel(logging.CRITICAL)


def catalog_of(ctx: typer.Context) -> Catalog:
    """Return the catalog with the registry layers that the command line chose."""
    from matgen.catalog import Catalog

    return Catalog.load(*ctx.obj, cache=cache_folder())


def cache_folder() -> Path:
    """Return where token stores and fetched datasets are kept between runs."""
    return Path.home() / ".cache" / "matgen"
