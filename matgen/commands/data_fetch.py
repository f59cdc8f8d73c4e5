"""``matgen data fetch``: the files of a dataset that does not come with matgen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def fetch(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Registered dataset: mp_20, optimade …")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for its files; the cache if left out.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="dataset.SETTING=VALUE (repeat).")
    ] = None,
    api_key: Annotated[
        str,
        typer.Option(
            envvar="MP_API_KEY",
            show_envvar=True,
            help="Key to the provider's service, where it wants one (materials_project).",
        ),
    ] = "",
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download a dataset once; then `--dataset NAME` finds it.

    What is there and whole is kept, and Ctrl-C loses nothing: the same command goes on. Files in a
    folder of your own are read with `--set dataset.path=DIR`.

    Examples: `matgen data fetch mp_20`  ·  `matgen data fetch alex_mp_20 --out data/alex`  ·
    `matgen data fetch optimade --set dataset.base_url=https://oqmd.org/optimade`
    """
    from matgen.commands.console import catalog_of, log_to_stderr, print_json, say
    from matgen.errors import BadOptions
    from matgen.plan_parts import parse_settings
    from matgen.roles.dataset import FetchedDataset

    log_to_stderr()
    catalog = catalog_of(ctx)
    fields = {}
    for key, value in parse_settings(set_ or []).items():
        component, _, field = key.partition(".")
        if component != "dataset":
            raise BadOptions(f"--set {key}: only dataset.SETTING means something here")
        fields[field] = value
    if out is not None:
        fields["path"] = str(out)
    dataset = catalog.build("dataset", name, fields)
    if not isinstance(dataset, FetchedDataset):
        raise BadOptions(f"{name} needs no download: use it with --dataset {name}")
    folder = dataset.folder()
    try:
        with Bars() as bars:
            dataset.fetch(folder, observer=bars, api_key=api_key)
    except KeyboardInterrupt:
        say(f"stopped; what arrived is in {folder}, and the same command goes on from there")
        raise typer.Exit(130) from None
    files = [path for path in dataset.files(folder) if path.is_file()]
    if json_out:
        print_json(
            {
                "dataset": dataset.name,
                "folder": str(folder),
                "files": {path.name: path.stat().st_size for path in files},
                "fingerprint": dataset.fingerprint(),
                "cites": list(dataset.cites),
            }
        )
        return
    how = f"--dataset {name}" + ("" if out is None else f" --set dataset.path={out}")
    say(f"{dataset.name} is there; use it with {how}")
    typer.echo(str(folder))


class Bars:
    """A progress bar for each part of a download; an observer of it."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[amount]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._progress is not None
        self._progress.stop()

    def on_progress(self, part: str, done: int, total: int | None, unit: str) -> None:
        """Move the bar of a part."""
        from rich.filesize import decimal

        assert self._progress is not None
        amount = decimal(done) if unit == "bytes" else f"{done:,} {unit}"
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(part, total=total, amount=amount)
        self._progress.update(self._tasks[part], completed=done, total=total, amount=amount)
