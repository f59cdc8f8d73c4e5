"""One evaluation from flags to a printed table: what ``matgen evaluate`` does after parsing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from matgen.commands.console import print_json, print_table, progress_bar, say, warn

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.evaluation_plan import EvaluationRequest


def run_evaluation(
    crystals: Path,
    request: EvaluationRequest,
    catalog: Catalog,
    *,
    out: Path | None,
    page: Path | None,
    json_out: bool,
) -> None:
    """Read, evaluate with progress bars, write the report, print its table."""
    from matgen.errors import BadFile
    from matgen.evaluation.pipeline import evaluate
    from matgen.evaluation.report_page import write_page
    from matgen.evaluation.statuses import counted
    from matgen.evaluation_plan import resolve_evaluation
    from matgen.io.reading import read_samples

    plan = resolve_evaluation(catalog, request)
    samples, asked = read_samples(crystals)
    if not asked:
        raise BadFile(
            f"{crystals} is empty: it holds no crystal, and no count of samples asked for"
        )
    failed = [sample for sample in samples if sample.crystal is None]
    say(f"{crystals}: {len(samples) - len(failed)} crystals, {asked} asked for")
    if failed:
        warn(
            f"{len(failed)} samples are no crystals, reasons in samples.csv; the first, sample "
            f"{failed[0].index}: {failed[0].error}"
        )
    folder = out or crystals.with_name(f"{crystals.name.split('.')[0]}-evaluation")
    with progress_bar() as bar:
        tasks: dict[str, object] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]  # its TaskID

        report = evaluate(plan, samples, asked, folder, observer=show)
    if page is not None:
        write_page(report, page)
    for warning in report.warnings:
        warn(warning)
    if json_out:
        print_json(report.to_json())
        return
    told = report.settings["protocol"]
    if isinstance(told, dict):
        say(f"protocol {told['label']}")
    print_table(("evaluator", "figure", "value", "95 % interval"), list(report.rows()))
    outcomes = ", ".join(f"{count} {status}" for status, count in counted(report.statuses).items())
    say(f"of {asked} asked for: {outcomes}; tables, relaxed structures and settings in {folder}")
    if page is not None:
        say(f"page to look at: {page}")
    typer.echo(str(folder / "report.json"))
