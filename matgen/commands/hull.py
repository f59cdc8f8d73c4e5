"""``matgen hull``: references that say how stable a composition is, made and looked at."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Make hull references and look at them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


class Correct(StrEnum):
    """What is added to energies."""

    AUTO = "auto"
    NONE = "none"
    MP2020 = "mp2020"
    TRI2024 = "tri2024"


@app.callback()
def hull() -> None:
    """Make hull references and look at them."""


@app.command()
def build(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(help="Table of energies, reference of MatterGen, or dataset with --relax."),
    ],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    relax: Annotated[
        str | None, typer.Option(help="Potential that gives the energies: chgnet, sevennet …")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="Energy scale of a table: mp2020 (corrected), pbe+u (raw) …"),
    ] = None,
    correct: Annotated[
        Correct,
        typer.Option(help="Scheme for energies of --relax; auto: mp2020 for raw potentials."),
    ] = Correct.AUTO,
    energy_column: Annotated[
        str | None, typer.Option(help="Column of energies, eV/atom; found by its name if left out.")
    ] = None,
    formula_column: Annotated[
        str | None, typer.Option(help="Column of formulas; found by its name if left out.")
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option("--leave-out", help="Go on without rows that have no energy or no elements."),
    ] = False,
    origin: Annotated[str, typer.Option(help="Where the energies are from, for reports.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the energies, for reports.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda …")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="relaxer.max_steps=200, dataset.SETTING=… (repeat)."),
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a hull reference from energies that somebody has, or that a potential gives.

    A table (Parquet or CSV) has formulas and energies per atom: totals, or formation energies if
    the column's name says so. With --relax, every crystal of a dataset or file is relaxed first
    (single points: --set relaxer.max_steps=0); energies are kept beside the file as they come, and
    the same command goes on where it was stopped. Of each composition the lowest energy is kept.
    A hull of totals needs each pure element.

    Examples: `matgen hull build dft.csv --scale mp2020 --out dft.parquet`  ·
    `matgen hull build mp_le20 --relax chgnet --out chgnet.parquet`  ·
    `matgen hull build relaxed.extxyz --relax sevennet --set relaxer.max_steps=0 --out s.parquet`  ·
    `matgen hull build reference_MP2020correction.gz --out mattergen.parquet`, then
    `matgen evaluate crystals.extxyz --relax chgnet --hull chgnet.parquet`
    """
    from matgen.commands.console import (
        catalog_of,
        log_to_stderr,
        print_json,
        print_table,
        say,
        warn,
    )
    from matgen.commands.hull_sources import HullRequest, build_hull
    from matgen.commands.stages import stage_bars, stoppable
    from matgen.io.hull_file import write_hull_file

    log_to_stderr()
    request = HullRequest(
        source=source,
        out=out,
        relaxer=relax,
        scale=scale,
        correct=None if correct is Correct.AUTO else correct.value,
        energy_column=energy_column,
        formula_column=formula_column,
        leave_out=leave_out,
        origin=origin,
        licence=licence,
        device=device,
        settings=tuple(set_ or ()),
    )
    kept = "energies are kept, the same command goes on" if relax else "nothing was written"
    with stoppable(kept), stage_bars() as show:
        made = build_hull(catalog_of(ctx), request, show)
    write_hull_file(out, made.file)
    if json_out:
        print_json({"file": str(out), **made.file.note})
        return
    if made.elements_missing:
        warn(
            f"no row of the pure element for {', '.join(made.elements_missing)}: "
            f"{made.n_without_element:,} compositions with them are left out"
        )
    print_table(
        (f"hull of {made.file.kind} energies", "rows"),
        [(name.replace("_", " "), f"{count:,}") for name, count in made.counts.items()],
    )
    say(f"on the energy scale {made.file.note['energy_scale']}; use it with --hull {out}")
    typer.echo(str(out))


@app.command()
def info(
    file: Annotated[Path, typer.Argument(help="What `matgen hull build` wrote, or a like table.")],
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what a hull reference covers and on which energy scale it is.

    Example: `matgen hull info chgnet.parquet`
    """
    from matgen.commands.console import print_json, print_table
    from matgen.elements import symbols
    from matgen.io.hull_file import read_hull_file

    read = read_hull_file(file)
    covered = read.elements if read.kind == "formation" else read.pure
    told = {
        "energies": read.kind,
        "entries": len(read.entries),
        "energy_scale": read.note.get("energy_scale", "not stated"),
        "corrections": read.note.get("corrections", "not stated"),
        "elements": sorted(covered, key=symbols.index),
        "elements_without_entry": sorted(read.elements - covered, key=symbols.index),
        "potential": read.note.get("potential"),
        "source": read.note.get("source", "not stated"),
        "licence": read.note.get("licence") or "not stated",
        "remarks": read.note.get("remarks", ""),
    }
    if json_out:
        print_json({"file": str(file), **told})
        return
    potential = told["potential"]
    if isinstance(potential, dict):
        told["potential"] = f"{potential['relaxer']} ({potential['package']})"
    print_table(
        ("hull", str(file)),
        [
            (name.replace("_", " "), _text(value))
            for name, value in told.items()
            if value or name == "entries"
        ],
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)}: {' '.join(map(str, value))}"
    return f"{value:,}" if isinstance(value, int) else str(value)
