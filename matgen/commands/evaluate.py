"""``matgen evaluate``: how good crystals are, with every denominator stated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    ctx: typer.Context,
    crystals: Annotated[
        Path, typer.Argument(help="What `matgen sample` wrote, or any file or folder of crystals.")
    ],
    relax: Annotated[
        str | None, typer.Option(help="Potential to relax with: chgnet, mattersim …")
    ] = None,
    hull: Annotated[
        str | None, typer.Option(help="Hull reference, or none; the shipped one if left out.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Dataset that novelty is measured against, or none."),
    ] = None,
    evaluator: Annotated[
        list[str] | None, typer.Option(help="Only these evaluators (repeat).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report and tables; beside the crystals if left out."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes every core.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda …")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="relaxer.max_steps=200, hull.path=… (repeat)."),
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Evaluate crystals: validity, uniqueness, novelty, relaxation, stability, S.U.N.

    Every rate divides by the samples asked for. Interrupted relaxations are kept and reused.

    Examples: `matgen evaluate crystals.extxyz --relax chgnet`  ·
    `matgen evaluate cifs/ --evaluator validity --evaluator uniqueness`  ·
    `matgen evaluate crystals.extxyz --relax chgnet --set relaxer.max_steps=200`
    """
    from matgen.commands.console import catalog_of, log_to_stderr
    from matgen.commands.evaluating import EvaluateFlags, run_evaluation
    from matgen.devices import pick_device

    log_to_stderr()
    run_evaluation(
        crystals,
        EvaluateFlags(
            relaxer=relax,
            hull=hull,
            reference=reference,
            evaluators=tuple(evaluator or ()),
            settings=tuple(set_ or ()),
            workers=workers,
            device=pick_device(device),
        ),
        catalog_of(ctx),
        out=out,
        json_out=json_out,
    )
