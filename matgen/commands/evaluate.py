"""``matgen evaluate``: how good crystals are, with every denominator stated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from matgen.commands.evaluate_compare import evaluate_compare

_CRYSTALS = "crystals"
"""The command behind ``matgen evaluate FILE``, which nobody has to type."""


class _CrystalsOrCompare(TyperGroup):
    """``matgen evaluate FILE`` evaluates; only the word ``compare`` in its place is a command."""

    def parse_args(self, ctx: Any, args: Any) -> Any:  # typer vendors its Context class
        known = args and args[0] in self.commands
        return super().parse_args(ctx, args if known else [_CRYSTALS, *args])


class _Unnamed(TyperCommand):
    """Stands in the place of its group, so that usage lines read as people type."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        if parent is not None:
            info_name, parent = parent.info_name, parent.parent
        return super().make_context(info_name, args, parent=parent, **extra)


app = typer.Typer(
    cls=_CrystalsOrCompare,
    help="Evaluate crystals: validity, uniqueness, novelty, relaxation, stability, S.U.N.",
)


@app.command(name=_CRYSTALS, cls=_Unnamed)
def evaluate(
    ctx: typer.Context,
    crystals: Annotated[
        Path, typer.Argument(help="What `matgen sample` wrote, or any file or folder of crystals.")
    ],
    relax: Annotated[
        str | None,
        typer.Option(help="Potential to relax with: chgnet, sevennet, mattersim …, or none."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="matgen, mattergen, materium, lemat, csp, cdvae, crystalite …"),
    ] = None,
    energies: Annotated[
        Path | None,
        typer.Option(
            help="Relaxed crystals or energies made elsewhere, of the potential that --relax names."
        ),
    ] = None,
    hull: Annotated[
        str | None, typer.Option(help="Hull reference, a file of one, or none; else the shipped.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Dataset that novelty is measured against, or none."),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(help="What was to be predicted or imitated: FILE, or DATASET:SPLIT."),
    ] = None,
    per_truth: Annotated[
        int, typer.Option(min=0, help="Predictions for each true crystal; 0: what divides evenly.")
    ] = 0,
    evaluator: Annotated[
        list[str] | None, typer.Option(help="Only these evaluators (repeat).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report and tables; beside the crystals if left out."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Page to look at: figures, distributions, every sample in 3D; one file."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes every core.")] = 0,
    cache: Annotated[
        bool, typer.Option(help="Take relaxations from earlier runs, and keep those of this one.")
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda …")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="relaxer.max_steps=200, hull.path=… (repeat)."),
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Evaluate crystals: validity, uniqueness, novelty, relaxation, stability, S.U.N.

    Every rate divides by the samples asked for. Interrupted relaxations are kept and reused. A
    protocol fixes what is measured and how; a run with another potential, hull or reference than
    its published figures says so in its label. `matgen plugins list protocol` lists them.

    `matgen evaluate compare A B` puts finished evaluations side by side.

    Examples: `matgen evaluate crystals.extxyz --relax chgnet`  ·
    `matgen evaluate crystals.extxyz --relax chgnet --report out.html`  ·
    `matgen evaluate cifs/ --evaluator validity --evaluator uniqueness`  ·
    `matgen evaluate crystals.extxyz --relax chgnet --set relaxer.max_steps=200`  ·
    `matgen evaluate crystals.extxyz --protocol mattergen --relax chgnet`  ·
    `matgen evaluate crystals.extxyz --relax chgnet --energies relaxed.extxyz`  ·
    `matgen evaluate predictions.extxyz --protocol csp --truth true.extxyz --per-truth 20`
    """
    from matgen.commands.console import catalog_of, log_to_stderr
    from matgen.commands.evaluating import run_evaluation
    from matgen.devices import pick_device
    from matgen.evaluation_plan import EvaluationRequest

    log_to_stderr()
    run_evaluation(
        crystals,
        EvaluationRequest(
            protocol=protocol,
            relaxer=relax,
            energies=energies,
            hull=hull,
            reference=reference,
            truth=truth,
            per_truth=per_truth,
            evaluators=tuple(evaluator or ()),
            settings=tuple(set_ or ()),
            workers=workers,
            cache=cache,
            device=pick_device(device),
        ),
        catalog_of(ctx),
        out=out,
        page=report,
        json_out=json_out,
    )


app.command(name="compare")(evaluate_compare)
