"""``matgen registry``: what is chosen when nobody says otherwise, and who said so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def registry(
    ctx: typer.Context,
    origin: Annotated[
        bool, typer.Option("--origin", help="Also print the file that each value came from.")
    ] = False,
    path: Annotated[
        bool, typer.Option("--path", help="Print where your own registry.toml is looked for.")
    ] = False,
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the merged registry.toml: the shipped one, your own, then `--registry FILE`.

    Example: `matgen registry --origin`
    """
    from matgen.choices import Choices, shipped_file
    from matgen.commands.console import print_json

    if path:
        typer.echo(Path(typer.get_app_dir("matgen")) / "registry.toml")
        return
    choices = Choices.load([shipped_file(), *ctx.obj])
    if json_out:
        print_json(
            [
                {"key": list(key), "value": value, "file": str(file)}
                for key, (value, file) in sorted(choices.origins.items())
            ]
        )
        return
    for key, (value, file) in sorted(choices.origins.items()):
        line = f"{'.'.join(key)} = {value!r}"
        typer.echo(f"{line}    # {file}" if origin else line)
