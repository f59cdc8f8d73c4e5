"""``matgen shortlist``: from an evaluation to the few crystals that are worth a calculation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matgen.commands.shortlisting import Asked


def shortlist(
    ctx: typer.Context,
    run: Annotated[
        Path, typer.Argument(help="Folder that `matgen evaluate CRYSTALS --relax …` wrote.")
    ],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Crystals on the list.")] = 50,
    second: Annotated[
        str | None, typer.Option(help="A second potential, for a second opinion: sevennet …")
    ] = None,
    second_hull: Annotated[
        str | None, typer.Option(help="Hull of the second potential, if not the first's.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Energy above the hull up to which a crystal counts, eV/atom.")
    ] = 0.1,
    pool: Annotated[
        int, typer.Option(min=0, help="Crystals that the second potential relaxes; 0: 3 n.")
    ] = 0,
    known: Annotated[
        bool, typer.Option("--any/--novel", help="Known materials, too, or only novel ones.")
    ] = False,
    reference: Annotated[
        str | None, typer.Option(help="Dataset in which the nearest known material is looked for.")
    ] = None,
    phonons: Annotated[
        int, typer.Option(min=0, help="Check the vibrations of so many, the best first.")
    ] = 0,
    imaginary: Annotated[
        float, typer.Option(min=0, help="Imaginary frequencies up to this are noise, THz.")
    ] = 0.3,
    symprec: Annotated[
        float, typer.Option(min=1e-6, help="Tolerance of the symmetrised CIFs, Å.")
    ] = 0.01,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the list; RUN-shortlist if left out.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes every core.")] = 0,
    cache: Annotated[
        bool, typer.Option(help="Take relaxations from earlier runs, and keep those of this one.")
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda …")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="relaxer.SETTING=VALUE of the second potential (repeat)."),
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """Narrow an evaluation down to a list of crystals that are worth a calculation.

    Each crystal once (what relaxed to the same is merged), near the hull, novel; ranked by the
    distance from the hull, of two potentials by the larger one; with the nearest known material,
    what it would fall apart into, a symmetrised CIF, and the vibrations of the best. Stopped, the
    same line goes on where it was.

    Examples: `matgen shortlist crystals-evaluation -n 50`  ·
    `matgen shortlist crystals-evaluation -n 50 --second sevennet --phonons 10`  ·
    `matgen shortlist crystals-evaluation --any --threshold 0.05 --json`
    """
    from matgen.commands.console import catalog_of, log_to_stderr
    from matgen.commands.shortlisting import Asked, make_shortlist
    from matgen.devices import pick_device

    log_to_stderr()
    asked: Asked = Asked(
        run=run,
        n=n,
        second=second,
        second_hull=second_hull,
        threshold=threshold,
        pool=pool or 3 * n,
        known=known,
        reference=reference,
        phonons=phonons,
        imaginary_thz=imaginary,
        symprec=symprec,
        out=out or run.with_name(f"{run.name.removesuffix('-evaluation')}-shortlist"),
        workers=workers,
        cache=cache,
        device=pick_device(device),
        settings=tuple(set_ or ()),
    )
    make_shortlist(asked, catalog_of(ctx), json_out=json_out)
