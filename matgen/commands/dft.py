"""``matgen dft``: first-principles calculations of crystals: write, run, read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matgen.catalog import Catalog
    from matgen.dft.job import Job
    from matgen.dft.results import Result
    from matgen.roles.calculation import State

app = typer.Typer(
    help="Check crystals by density functional theory: write inputs, run them, read what came out.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_Folder = Annotated[Path, typer.Argument(help="What `matgen dft write` made.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def dft() -> None:
    """Check crystals by density functional theory: write inputs, run them, read what came out."""


@app.command()
def write(
    ctx: typer.Context,
    crystals: Annotated[
        Path, typer.Argument(help="Any file or folder of crystals, or one of `matgen shortlist`.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the calculations.")],
    calculation: Annotated[
        str, typer.Option(help="band_gap, magnetic_density (Quantum ESPRESSO), vasp, atomate2 …")
    ] = "band_gap",
    pseudo: Annotated[
        Path | None, typer.Option(help="Folder of pseudopotentials, for Quantum ESPRESSO.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="calculation.SETTING=VALUE (repeat).")
    ] = None,
    json_out: _Json = False,
) -> None:
    """Write the inputs of a calculation for every crystal.

    A crystal that cannot be calculated (an element without pseudopotential) has a status; the rest
    goes on. Called again it changes nothing that is there.

    Examples: `matgen dft write shortlist --calculation band_gap --pseudo sssp --out gaps`  ·
    `matgen dft write cifs --calculation magnetic_density --pseudo sssp --out moments`  ·
    `matgen dft write crystals.extxyz --calculation vasp --out vasp`
    """
    from matgen.commands.console import catalog_of
    from matgen.dft.job import Job
    from matgen.errors import BadFile
    from matgen.io.reading import read_samples
    from matgen.plan_parts import Settings, build_chosen, parse_settings
    from matgen.roles.calculation import Calculation

    catalog = catalog_of(ctx)
    taken = Settings(parse_settings(set_ or []))
    given = {} if pseudo is None else {"pseudopotentials": str(pseudo)}
    chosen = build_chosen(catalog, Calculation, "calculation", calculation, taken, under=given)
    taken.refuse_rest("calculation")
    listed = crystals / "crystals.extxyz"
    source = listed if listed.is_file() else crystals
    samples, _ = read_samples(source)
    if not samples:
        raise BadFile(f"{source} holds no crystal")
    _tell(
        Job.create(out, chosen, samples, source=str(source.resolve()), catalog=catalog),
        json_out=json_out,
        catalog=catalog,
    )


@app.command()
def run(
    ctx: typer.Context,
    folder: _Folder,
    command: Annotated[
        str, typer.Option(help="The program, with what starts it: 'mpirun -np 4 pw.x'.")
    ],
    workers: Annotated[int, typer.Option(min=1, help="Crystals at a time.")] = 1,
    max_seconds: Annotated[
        float, typer.Option(min=0, help="Wall time of one step; 0 sets no limit.")
    ] = 0.0,
    retry: Annotated[
        bool, typer.Option("--retry", help="Begin again with crystals that failed.")
    ] = False,
    json_out: _Json = False,
) -> None:
    """Run what is due, step by step, and read what came out.

    Stopped or killed, the same line goes on: a step whose output was cut off runs again, and its
    old output is kept beside it. Steps can as well be run by hand or on a cluster: each folder has
    its inputs.

    Examples: `matgen dft run gaps --command pw.x`  ·
    `matgen dft run gaps --command 'mpirun -np 4 pw.x' --workers 2 --max-seconds 7200`
    """
    from matgen.commands.console import catalog_of, progress_bar
    from matgen.commands.stages import stoppable
    from matgen.dft.job import Job, status
    from matgen.dft.running import Runner, words

    catalog = catalog_of(ctx)
    job = Job.load(folder, catalog)
    runner = Runner(job, words(command), max_seconds=max_seconds, retry=retry)
    problems: dict[int, State] = {}
    with stoppable("what is done is kept; the same command goes on"), progress_bar() as bar:
        task = bar.add_task("calculating", total=len(job.samples))

        def begun(sample: object, state: State) -> None:
            index = getattr(sample, "index", "")
            bar.update(task, description=f"crystal {index}: {getattr(state, 'name', '')}")

        for sample, state in runner.run(workers=workers, observer=begun):
            problems[sample.index] = state
            bar.console.print(f"crystal {sample.index}: {status(state)}", markup=False)
            bar.advance(task)
    _tell(job, json_out=json_out, catalog=catalog, ended=problems)


@app.command()
def read(ctx: typer.Context, folder: _Folder, json_out: _Json = False) -> None:
    """Read what came out: a table, and files with the relaxed crystals and their properties.

    Writes results.json, results.csv and results.extxyz into the folder; `matgen evaluate
    gaps/results.extxyz` then holds the properties against what was asked for.

    Examples: `matgen dft read gaps`  ·  `matgen dft read gaps --json`
    """
    from matgen.commands.console import catalog_of
    from matgen.dft.job import Job

    catalog = catalog_of(ctx)
    _tell(Job.load(folder, catalog), json_out=json_out, catalog=catalog)


def _tell(
    job: Job, *, json_out: bool, catalog: Catalog, ended: Mapping[int, State] | None = None
) -> None:
    """Write the results that there are, and print them.

    Args:
        ended: Number of a crystal to how its run ended, where that says more than its files.
    """
    from matgen.commands.console import print_json, say
    from matgen.dft.results import Result, counted, read_results, write_results
    from matgen.roles.calculation import Outcome

    results = [
        Result(result.sample, known)
        if isinstance(known := (ended or {}).get(result.sample.index), Outcome) and known.error
        else result
        for result in read_results(job)
    ]
    paths = write_results(job, results)
    if json_out:
        print_json(
            {
                "folder": str(job.folder),
                "calculation": catalog.dump(job.calculation),
                "statuses": dict(counted(results)),
                "results": [result.to_json() for result in results],
            }
        )
        return
    _print(results, job.calculation.properties)
    told = ", ".join(f"{count} {word}" for word, count in counted(results).items())
    say(f"of {len(results)} crystals: {told}")
    if "waiting" in counted(results) and job.calculation.program:
        say(f"run what is due: matgen dft run {job.folder} --command {job.calculation.program}")
    typer.echo(str(paths[2]))


def _print(results: list[Result], properties: tuple[str, ...]) -> None:
    from matgen.commands.console import print_table
    from matgen.units import CANONICAL_UNITS

    rows = []
    for result in results:
        row = result.to_json()
        values = [f"{row[name]:.4g}" if name in row else "" for name in properties]
        rows.append((str(row["index"]), str(row["formula"] or ""), *values, row["status"]))
    units = [f"{name} ({CANONICAL_UNITS.get(name, '')})" for name in properties]
    print_table(("crystal", "formula", *units, "status"), rows)
