"""``matgen runs``: look at run directories: list, show, compare, plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matgen.training.curves import XAxis

if TYPE_CHECKING:
    from matgen.stored_run import StoredRun
    from matgen.training.curve_figure import Format
    from matgen.training.curve_page import Table

app = typer.Typer(
    help="List, show, compare and plot run directories.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_Runs = Annotated[list[Path], typer.Argument(help="Run directories.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def runs() -> None:
    """List, show, compare and plot run directories."""


@app.command("list")
def list_runs(
    folder: Annotated[
        Path, typer.Argument(help="Where to look, and one level further down.")
    ] = Path("runs"),
    json_out: _Json = False,
) -> None:
    """List the runs in a folder, the newest first: state, steps, lowest validation loss, what of.

    Examples: `matgen runs list`  ·  `matgen runs list runs --json`
    """
    from matgen.commands.console import print_json, print_table, say
    from matgen.commands.run_tables import LIST_HEADER, list_row, overview
    from matgen.errors import BadOptions
    from matgen.found_runs import find_runs

    if not folder.is_dir():
        raise BadOptions(
            f"there is no folder {folder}; name the one that holds your runs, or make a run with "
            "matgen train"
        )
    found = find_runs(folder)
    if json_out:
        print_json([overview(run) for run in found])
        return
    if not found:
        say(f"no runs in {folder}; matgen train --out {folder / 'first'} makes one")
        return
    print_table(LIST_HEADER, [list_row(run) for run in found])
    for run in found:
        for problem in run.problems:
            say(f"{run.folder}: {problem}")


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    json_out: _Json = False,
) -> None:
    """Show a run: model, conditions, settings that are not the defaults, data, how it went.

    Example: `matgen runs show runs/first`
    """
    from matgen.commands.console import print_json, say
    from matgen.commands.run_tables import show_json, show_tables
    from matgen.stored_run import read_run

    stored = read_run(run)
    if json_out:
        print_json(show_json(stored))
        return
    created = f"{stored.created.astimezone():%Y-%m-%d %H:%M}"
    typer.echo(f"{run}: {stored.state}, started {created} with matgen {stored.info.get('matgen')}")
    _print(show_tables(stored))
    versions = stored.info.get("versions") or {}
    typer.echo("versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()))
    for problem in stored.problems:
        say(problem)


@app.command()
def compare(runs: _Runs, json_out: _Json = False) -> None:
    """Compare runs: the settings, components and data that differ, and how each ended.

    Example: `matgen runs compare runs/first runs/second`
    """
    from matgen.commands.console import print_json, say
    from matgen.commands.run_tables import comparison_tables
    from matgen.errors import BadOptions
    from matgen.run_comparison import differences, names_of, outcome

    stored = _read(runs)
    if len(stored) < 2:
        raise BadOptions("comparing takes two runs or more; matgen runs show tells of one")
    names = names_of([run.folder for run in stored])
    if json_out:
        outcomes = {name: outcome(run) for name, run in zip(names, stored, strict=True)}
        paths = {name: str(run.folder) for name, run in zip(names, stored, strict=True)}
        print_json({"runs": paths, "differences": differences(stored), "outcomes": outcomes})
        return
    differing, ended = comparison_tables(stored, names)
    if not differing.rows:
        say("all settings, components, data and versions are the same")
    _print([differing, ended])


@app.command()
def plot(
    runs: _Runs,
    out: Annotated[
        Path, typer.Option(help="File to write: .png, .svg, .pdf, or .html with the figures.")
    ] = Path("curves.png"),
    x: Annotated[XAxis, typer.Option(help="What the curves are drawn against.")] = XAxis.TOKENS,
) -> None:
    """Draw learning curves: losses, learning rate, gradient norm, loss per kind of token.

    Examples: `matgen runs plot runs/first`  ·
    `matgen runs plot runs/first runs/second --x minutes --out curves.html`
    """
    from matgen.atomic import replacing, write_text
    from matgen.commands.console import say
    from matgen.commands.run_tables import comparison_tables
    from matgen.commands.run_texts import legend_labels
    from matgen.errors import BadOptions
    from matgen.run_comparison import names_of
    from matgen.training.curve_figure import draw_curves
    from matgen.training.curve_page import page_of
    from matgen.training.curve_series import Shown

    suffix = out.suffix.lower()
    if suffix not in {".png", ".svg", ".pdf", ".html"}:
        raise BadOptions(f"cannot draw into {out}; --out takes .png, .svg, .pdf and .html")
    stored = _with_lines(_read(runs), x)
    names = names_of([run.folder for run in stored])
    shown = [
        Shown(label, run.curves, run.tokens_per_epoch)
        for label, run in zip(legend_labels(stored, names), stored, strict=True)
    ]
    if suffix == ".html":
        title = f"Learning curves: {', '.join(names)}"
        drawing = draw_curves(shown, x_axis=x, kind="svg")
        write_text(out, page_of(title, drawing, comparison_tables(stored, names)))
    else:
        kinds: dict[str, Format] = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
        with replacing(out) as temporary:
            temporary.write_bytes(draw_curves(shown, x_axis=x, kind=kinds[suffix]))
    for run in stored:
        for problem in run.problems:
            say(f"{run.folder}: {problem}")
    typer.echo(str(out))


def _read(folders: Sequence[Path]) -> list[StoredRun]:
    """Read runs; one that is named twice is read once.

    Raises:
        BadFile: one is none, or is damaged.
    """
    from matgen.stored_run import read_run

    once = {folder.resolve(): folder for folder in reversed(folders)}
    return [read_run(folder) for folder in reversed(once.values())]


def _with_lines(stored: Sequence[StoredRun], x: XAxis) -> list[StoredRun]:
    """Return the runs that can be drawn, and say which cannot.

    Raises:
        BadOptions: none can, or one does not say how long its epochs are and must.
    """
    import math

    from matgen.commands.console import say
    from matgen.errors import BadOptions

    for run in stored:
        if x is XAxis.EPOCHS and math.isnan(run.tokens_per_epoch):
            raise BadOptions(
                f"{run.folder / 'run.json'} does not say how many tokens an epoch has; draw "
                "against --x tokens"
            )
    drawable = [run for run in stored if run.curves.last is not None]
    if not drawable:
        raise BadOptions("nothing is logged in metrics.jsonl yet, so there is nothing to draw")
    for run in stored:
        if run not in drawable:
            say(f"{run.folder}: left out, nothing is logged in its metrics.jsonl yet")
    return drawable


def _print(tables: Sequence[Table]) -> None:
    from matgen.commands.console import print_table

    for table in tables:
        if table.rows:
            print_table(table.header, table.rows, title=table.caption)
