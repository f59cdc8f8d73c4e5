"""``matgen evaluate compare``: several evaluations side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate_compare(
    evaluations: Annotated[
        list[Path], typer.Argument(help="Folders that `matgen evaluate` wrote, two or more.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for comparison.html, .md and .json; none is written without it."),
    ] = None,
    allow_different: Annotated[
        bool,
        typer.Option(
            "--allow-different",
            help="Name the best although protocol, potential, hull or reference differ.",
        ),
    ] = False,
    json_out: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare evaluations: figures side by side, differences with intervals, what is significant.

    Differences are to the first. Where the evaluations were not made alike, that is told and no
    run is called best.

    Examples: `matgen evaluate compare high-evaluation xyz-evaluation`  ·
    `matgen evaluate compare a b c --out comparison`
    """
    from matgen.commands.console import print_json, print_table, say, warn
    from matgen.evaluation import comparison_files
    from matgen.evaluation.comparison import compare

    comparison = compare(evaluations, allow_different=allow_different)
    if out is not None:
        comparison_files.write(comparison, out)
    for warning in comparison.warnings:
        warn(warning)
    if json_out:
        print_json(comparison.to_json())
        return
    print_table(
        ("figure", *(run.name for run in comparison.runs)), comparison_files.rows(comparison)
    )
    say("in brackets 95 % intervals; then the difference to the first, * where it is significant")
    if out is not None:
        typer.echo(str(out / "comparison.html"))
