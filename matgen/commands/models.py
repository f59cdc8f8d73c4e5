"""``matgen model``: trained models by name: list, card, verify, pack, pull."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="List, describe, verify, pack and pull trained models.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_Model = Annotated[str, typer.Argument(help="A run directory, or a name from matgen model list.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def model() -> None:
    """List, describe, verify, pack and pull trained models."""


@app.command("list")
def list_models(json_out: _Json = False) -> None:
    """List the models that have a name: the shipped one and those that were pulled.

    Examples: `matgen model list`  ·  `matgen sample --model NAME`
    """
    from matgen.commands.console import print_json, print_table
    from matgen.commands.run_tables import LIST_HEADER, list_row, overview
    from matgen.found_runs import read_or_damaged
    from matgen.models.store import named_models

    found = [(model.name, read_or_damaged(model.folder)) for model in named_models()]
    if json_out:
        print_json([{"name": name, **overview(run)} for name, run in found])
        return
    header = ("name", *LIST_HEADER[1:])
    print_table(header, [(name, *list_row(run)[1:]) for name, run in found])


@app.command()
def card(
    ctx: typer.Context,
    name: _Model = "default",
    out: Annotated[Path | None, typer.Option(help="Write it here instead of printing.")] = None,
) -> None:
    """Print a model's card: its README.md, or what its run directory says.

    Examples: `matgen model card`  ·  `matgen model card runs/mine --out README.md`
    """
    from matgen.atomic import write_text
    from matgen.commands.console import catalog_of
    from matgen.models.card import model_card
    from matgen.models.store import find_model
    from matgen.models.sums import CARD

    folder = find_model(name)
    written = folder / CARD
    if written.exists():
        text = written.read_text(encoding="utf-8")
    else:
        text = model_card(folder, catalog_of(ctx))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)


@app.command()
def verify(ctx: typer.Context, name: _Model = "default", json_out: _Json = False) -> None:
    """Check that a model is whole: checksums, weights that fit and are finite numbers.

    Examples: `matgen model verify`  ·  `matgen model verify runs/mine`
    """
    from matgen.commands.console import catalog_of, print_json
    from matgen.models.store import find_model
    from matgen.models.verify import verify as check

    folder = find_model(name)
    found = check(folder, catalog_of(ctx))
    if json_out:
        print_json(
            {"folder": str(folder), "files": found.n_files, "parameters": found.n_parameters}
        )
        return
    sums = (
        f"{found.n_files} files are what their checksums say" if found.n_files else "no checksums"
    )
    typer.echo(f"{folder}: {sums}; {found.n_parameters:,} weights fit and are finite")


@app.command()
def pack(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
) -> None:
    """Make a model to pass on from a run: bfloat16 weights, card, checksums.

    The folder can be put on a web server or into a repository of the Hugging Face Hub as it is.

    Example: `matgen model pack runs/mine --out mine`  then  `matgen model pull mine`
    """
    from matgen.commands.console import catalog_of, say
    from matgen.io.digests import sha256_of
    from matgen.models.pack import pack as write
    from matgen.models.sums import SUMS

    folder = write(run, out, catalog_of(ctx))
    say(f"SHA-256 of its {SUMS}, for matgen model pull --sha256: {sha256_of(folder / SUMS)}")
    typer.echo(str(folder))


@app.command()
def pull(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(help="Folder, https://… of one, or hf:ORGANISATION/NAME[@REVISION].")
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call it; the last part of its address.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="SHA-256 that its SHA256SUMS must have.")
    ] = None,
    hub: Annotated[
        str | None,
        typer.Option(envvar="HF_ENDPOINT", show_envvar=True, help="A mirror of the Hub."),
    ] = None,
) -> None:
    """Fetch a packed model, check it, and give it a name for --model.

    Examples: `matgen model pull hf:someone/perovskites`  ·
    `matgen model pull https://example.org/models/oxides --name oxides`
    """
    from matgen.commands.console import catalog_of, say
    from matgen.commands.data_fetch import Bars
    from matgen.models.pull import HUB, ModelSource
    from matgen.models.pull import pull as fetch
    from matgen.models.store import models_folder
    from matgen.models.verify import verify as check

    try:
        with Bars() as bars:
            where = ModelSource.parse(source, hub=hub or HUB)
            folder = fetch(where, models_folder(), name=name, sha256=sha256, observer=bars)
    except KeyboardInterrupt:
        say("stopped; what arrived is kept, and the same command goes on from there")
        raise typer.Exit(130) from None
    check(folder, catalog_of(ctx))
    say(f"use it with --model {folder.name}")
    typer.echo(str(folder))
