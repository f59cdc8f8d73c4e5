"""``matgen data check``: duplicates, leakage between splits, values that cannot be."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer


def check(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Registered dataset, or a file or folder.")],
    out: Annotated[
        Path | None, typer.Option(help="File for the findings, one JSON object per line.")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Compare the structures of only so many; 0: of all.")
    ] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Leave with 2 on leakage.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes every core.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="dataset.SETTING=VALUE (repeat).")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Look for duplicates, leakage between splits, missing and impossible values.

    Leakage is a row of a later split that shares reduced formula and space group, or the structure
    (StructureMatcher), with a row of an earlier one.

    Examples: `matgen data check mp_le20`  ·
    `matgen data check mine-split --out report.jsonl --strict`  ·
    `matgen data check mine.parquet --sample 1000 --json`
    """
    import json

    from matgen.atomic import replacing
    from matgen.commands.console import catalog_of, print_json, print_table, say
    from matgen.commands.data_sources import dataset_of, executor_of, say_unstated
    from matgen.commands.stages import stage_bars, stoppable
    from matgen.data.checking import Finding, check_data

    catalog = catalog_of(ctx)
    source = dataset_of(catalog, dataset, set_ or [])
    first: dict[str, Finding] = {}
    kept = "nothing was written" if out else "nothing is kept"
    with ExitStack() as stack:
        stack.enter_context(stoppable(kept))
        temporary = stack.enter_context(replacing(out)) if out else None
        lines = stack.enter_context(temporary.open("w", encoding="utf-8")) if temporary else None
        show = stack.enter_context(stage_bars())
        pool = stack.enter_context(executor_of(catalog, workers).open())

        def report(finding: Finding) -> None:
            first.setdefault(finding.kind, finding)
            if lines:
                lines.write(json.dumps(finding.to_json(), ensure_ascii=False) + "\n")

        summary = check_data(source, pool, show, report=report, sample=sample)
    told = summary.to_json()
    if json_out:
        print_json(told)
    else:
        counts = ", ".join(f"{name} {count:,}" for name, count in summary.rows.items())
        say(f"{dataset}: {counts}; structures compared: {summary.compared:,}")
        findings = told["findings"]
        assert isinstance(findings, dict)
        print_table(
            ("looked for", "found", "the first"),
            [(kind, f"{n:,}", _shown(first.get(kind))) for kind, n in findings.items()],
        )
        say_unstated(source)
        for split, lacking in summary.missing.items():
            listed = ", ".join(f"{name} {n:,}" for name, n in lacking.items() if n)
            say(f"missing in {split}: {listed or 'nothing'}")
        if out:
            say(f"every finding in {out}")
    if strict and summary.leakage:
        raise typer.Exit(2)


def _shown(finding: object) -> str:
    from matgen.data.checking import Finding

    if not isinstance(finding, Finding):
        return ""
    sides = [f" ({split})" for split in finding.splits] or [""] * len(finding.ids)
    named = " and ".join(f"{name}{side}" for name, side in zip(finding.ids, sides, strict=True))
    return ": ".join(part for part in (named, finding.detail) if part)
