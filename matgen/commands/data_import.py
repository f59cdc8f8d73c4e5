"""``matgen data import``: files of crystals become a dataset that is checked and quick to read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from matgen.catalog import Catalog
    from matgen.data.import_plan import ImportSource
    from matgen.data.importing import ImportReport
    from matgen.roles.dataset import DatasetSource


def import_data(
    ctx: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="File, folder, zip or tar of CIF, extended XYZ, POSCAR, JSON lines, csv or "
            "Parquet; or a registered dataset."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the dataset.")],
    unit: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN:UNIT of a property to keep (repeat); 1 is no unit."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the labels are from: NAME[:FUNCTIONAL], or INPUT=NAME[:FUNCTIONAL] for one "
            "of several (repeat)."
        ),
    ] = None,
    properties: Annotated[
        bool, typer.Option("--properties", help="Add what a crystal itself tells: density …")
    ] = False,
    reduce_cells: Annotated[
        bool, typer.Option("--reduce", help="Write canonical cells; the given ones are kept else.")
    ] = False,
    max_sites: Annotated[
        int, typer.Option(min=1, max=10_000, help="Leave out cells with more sites.")
    ] = 1000,
    val_fraction: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Share of formulas held out, unless a column splits."),
    ] = 0.1,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes every core.")] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse if anything would be left out.")
    ] = False,
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a dataset of files; then `--dataset DIR` trains on it.

    What is no crystal is left out and told in DIR/problems.jsonl. Ctrl-C, a kill or a full disk
    lose a few seconds of work: the same command goes on.

    Examples: `matgen data import cifs/ --out mine --properties`  ·
    `matgen data import gaps.csv --out gaps --unit band_gap:eV --source mp:PBE`  ·
    `matgen data import a.extxyz b.csv --out both --unit band_gap:eV --source a.extxyz=mp:PBE
    --source b.csv=jarvis:OptB88vdW`
    """
    from matgen.commands.console import catalog_of, print_json, say
    from matgen.commands.data_sources import executor_of
    from matgen.data.import_plan import ImportSettings
    from matgen.data.importing import import_crystals
    from matgen.data.own_properties import OWN_PROPERTIES

    catalog = catalog_of(ctx)
    units = _units(unit or [])
    _warn_of_units(units)
    settings = ImportSettings(
        units=units,
        computed=tuple(OWN_PROPERTIES) if properties else (),
        cell="canonical" if reduce_cells else "given",
        max_sites=max_sites,
        val_fraction=val_fraction,
    )
    sources = _sources(catalog, inputs, source or [])
    _warn_of_datasets(sources)
    bar = ImportBar()
    try:
        with bar:
            report = import_crystals(
                sources,
                out,
                settings,
                executor_of(catalog, workers),
                bar,
                problems="refuse" if strict else "report",
            )
    except KeyboardInterrupt:
        say(f"stopped after {bar.n_pieces} pieces; the same command goes on from there")
        raise typer.Exit(130) from None
    if json_out:
        print_json(_told(report, bar.seconds))
        return
    _say_report(report, settings.units, bar)
    typer.echo(str(out))


def _units(texts: Sequence[str]) -> dict[str, str]:
    """Return column to unit of ``COLUMN:UNIT`` texts.

    Raises:
        BadOptions: something else, or one column twice.
    """
    from matgen.errors import BadOptions

    units: dict[str, str] = {}
    for text in texts:
        column, _, unit = text.rpartition(":")
        if not column or not unit:
            raise BadOptions(f"--unit {text}: write COLUMN:UNIT, as in band_gap:eV (1 = no unit)")
        if units.setdefault(column, unit) != unit:
            raise BadOptions(f"--unit {text}: {column} was said to be in {units[column]!r}")
    return units


def _warn_of_units(units: Mapping[str, str]) -> None:
    """Say which units no condition will take."""
    from matgen.commands.console import warn
    from matgen.units import CANONICAL_UNITS

    for title, unit in units.items():
        known = CANONICAL_UNITS.get(title, unit)
        if known != unit:
            warn(
                f"--unit {title}:{unit}: conditions take {title} in {known} and will refuse this "
                f"column; nothing is converted, so state {title}:{known} if that is what it holds"
            )


def _sources(
    catalog: Catalog, inputs: Sequence[str], told: Sequence[str]
) -> tuple[ImportSource, ...]:
    """Return what is to be imported, each with its label source.

    Raises:
        BadFile, BadOptions: an input that is not there, twice there, or a flag for none of them.
    """
    from matgen.data.import_plan import ImportSource
    from matgen.errors import BadOptions
    from matgen.records import LabelSource

    named: dict[str, LabelSource] = {}
    for text in told:
        given, _, label = text.rpartition("=")
        if given and given not in inputs:
            raise BadOptions(
                f"--source {text}: {given!r} is no input; they are {', '.join(inputs)}"
            )
        name, _, functional = label.partition(":")
        if not name or ":" in functional or given in named:
            raise BadOptions(
                f"--source {text}: write NAME, NAME:FUNCTIONAL or INPUT=NAME:FUNCTIONAL, once for "
                "each input"
            )
        named[given] = LabelSource(name, functional)
    twice = {given for given in inputs if inputs.count(given) > 1}
    if twice:
        raise BadOptions(f"the input {min(twice)} is given twice")
    return tuple(
        ImportSource.of(given, _read_from(catalog, given), named.get(given, named.get("")))
        for given in inputs
    )


def _read_from(catalog: Catalog, given: str) -> Path | DatasetSource:
    """Return the file or folder of this path, or the dataset it is, or that is called so.

    Raises:
        BadFile: there is no such dataset and no such file.
    """
    from matgen.commands.data_sources import dataset_of
    from matgen.data.imported_folder import DESCRIPTION
    from matgen.errors import BadFile, UnknownName

    path = Path(given)
    try:
        catalog.resolve("dataset", given)
    except UnknownName:
        if not path.exists():
            raise BadFile(f"{given} is no registered dataset, and no such file exists") from None
        if not (path / DESCRIPTION).exists():
            return path
    return dataset_of(catalog, given, [])


def _warn_of_datasets(sources: Sequence[ImportSource]) -> None:
    """Say which imported datasets below the folders are not read."""
    from matgen.commands.console import warn
    from matgen.io.sources import datasets_within

    for source in sources:
        if isinstance(source.read, Path) and (within := datasets_within(source.read)):
            warn(
                f"{source.given} holds imported datasets, which are left out "
                f"({', '.join(within)}); to take one, name it as an input of its own"
            )


class ImportBar:
    """A progress bar over the bytes of the sources; an observer of the import."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("reading", total=None, told="")
        self._begun = time.monotonic()
        self._n_old = self._n_entries = self._n_problems = 0
        self.n_pieces = 0
        self.n_resumed = 0

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self._begun

    @property
    def rate(self) -> str:
        """Entries read per second, those of an earlier run left out; empty if none were."""
        n_new = self._n_entries - self._n_old
        return f", {n_new / max(self.seconds, 1e-9):,.0f} entries/s" if n_new else ""

    def on_start(self, n_bytes: int | None) -> None:
        """Take the length of the bar."""
        self._progress.update(self._task, total=n_bytes)

    def on_piece(self, n_bytes: int, n_crystals: int, n_problems: int, *, is_new: bool) -> None:
        """Move the bar."""
        self.n_pieces += 1
        self._n_entries += n_crystals + n_problems
        self._n_problems += n_problems
        if not is_new:
            self.n_resumed += 1
            self._n_old += n_crystals + n_problems
        told = f"{self._n_entries:,} entries{self.rate}"
        if self._n_problems:
            told += f", {self._n_problems:,} left out"
        self._progress.update(self._task, advance=n_bytes, told=told)

    def on_assembly(self) -> None:
        """Show that only the joining is left."""
        task = self._progress.tasks[0]
        total = task.total if task.total is not None else 1
        self._progress.update(self._task, description="joining", total=total, completed=total)


def _told(report: ImportReport, seconds: float) -> dict[str, object]:
    description, counted = report.description, report.counted
    return {
        "folder": str(report.folder),
        "fingerprint": description.fingerprint,
        "was_there": report.was_there,
        "n_entries": report.n_entries,
        "counts": dict(description.counts),
        "units": dict(description.units),
        "label_sources": {
            t: [str(s) for s in several] for t, several in description.label_sources.items()
        },
        "values": {title: dict(found) for title, found in counted.labels.items()},
        "columns_left_out": dict(counted.columns),
        "undefined": dict(counted.undefined),
        "examples": {kind: json.loads(line) for kind, line in report.examples.items()},
        "seconds": round(seconds, 3),
    }


def _say_report(report: ImportReport, stated: Mapping[str, str], bar: ImportBar) -> None:
    """Say on the screen what became of the entries."""
    from matgen.commands.console import say, warn
    from matgen.data.import_piece import REST_LOST
    from matgen.data.imported_folder import PROBLEMS

    description, counted = report.description, report.counted
    if report.was_there:
        say(f"{report.folder} is there already, from the same sources and settings")
        return
    splits = ", ".join(f"{description.counts.get(s, 0):,} {s}" for s in description.splits)
    again = f", {bar.n_resumed} of {bar.n_pieces} pieces from before" if bar.n_resumed else ""
    say(
        f"{counted.n_crystals:,} crystals ({splits}; split by {description.split_by}) in "
        f"{bar.seconds:.1f} s{bar.rate}{again}"
    )
    n_lost = counted.kinds[REST_LOST]
    if counted.n_problems:
        known = f"{counted.n_problems - n_lost:,} of {report.n_entries - n_lost:,} entries"
        more = " and an unknown number of others" if n_lost else ""
        say(f"left out {known}{more}; one line each in {report.folder / PROBLEMS}")
    for kind, count in counted.kinds.most_common():
        first = json.loads(report.examples[kind])
        say(f"  {count:,} {kind}: {first['source']}: {first['reason']}")
    if n_lost:
        source = json.loads(report.examples[REST_LOST])["source"]
        source += f" and of {n_lost - 1:,} other files" if n_lost > 1 else ""
        warn(
            f"the rest of {source} could not be read, and how many crystals are in it is unknown; "
            "get the whole file and import that"
        )
    for side in ("train", "val"):
        if not description.counts.get(side):
            warn(
                f"no crystals are in {side}; `matgen data split {report.folder} --out DIR` makes "
                "other splits"
            )
    for title, unit in stated.items():
        if not counted.labels.get(title):
            warn(f"no entry has a value of {title!r} (--unit {title}:{unit})")
    for title, count in counted.undefined.items():
        say(f"{title} is not defined for {count:,} crystals")
    if counted.columns:
        flags = " ".join(f"--unit {column}:UNIT" for column in sorted(counted.columns))
        say(f"left out columns without a stated unit; to keep them: {flags}")
    if counted.splits["given"] and counted.splits["drawn"]:
        warn(
            f"{counted.splits['drawn']:,} crystals have no split of their own; theirs was drawn by "
            "reduced formula, so a formula may be on both sides (`matgen data split` makes another)"
        )
