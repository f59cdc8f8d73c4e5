"""The command line: one module per command, each parse → plan → one engine call → print.

Nothing heavy is imported here or at the top of a command's module: ``matgen --help`` and shell
completion load neither torch nor numpy nor any plugin. Results go to stdout, all else to stderr.
Exit 0: fine; 2: the user can mend it (one line); 1: our bug (a traceback).
"""

from __future__ import annotations

import errno
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from matgen import __version__
from matgen.commands.cite import cite
from matgen.commands.console import fail
from matgen.commands.data import app as data_app
from matgen.commands.dft import app as dft_app
from matgen.commands.evaluate import app as evaluate_app
from matgen.commands.hull import app as hull_app
from matgen.commands.models import app as models_app
from matgen.commands.plugins import app as plugins_app
from matgen.commands.registry import registry
from matgen.commands.runs import app as runs_app
from matgen.commands.sample import sample
from matgen.commands.shortlist import shortlist
from matgen.commands.train import train
from matgen.errors import MatgenError, PluginProblem, UserError

GROUP = "matgen.commands"
"""Entry-point group of commands that plugins add: command name to a function."""

_CANNOT_WRITE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS,
    errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
}  # fmt: skip
"""A full disk, no permission, or a path through something that is no folder; files that are only
read raise ``BadFile`` where they are read."""


class _Commands(TyperGroup):
    """Our commands, and those of plugins, found by name and imported when called."""

    def list_commands(self, ctx: Any) -> list[str]:  # typer vendors its Context class
        return [*super().list_commands(ctx), *sorted(p.name for p in entry_points(group=GROUP))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # typer vendors its classes
        ours = super().get_command(ctx, cmd_name)
        if ours is not None:
            return ours
        # Help and completion ask for every command: nothing is imported for a mere mention.
        return next((_mentioned(p) for p in entry_points(group=GROUP, name=cmd_name)), None)

    def resolve_command(self, ctx: Any, args: Any) -> Any:  # typer vendors its classes
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and super().get_command(ctx, name) is None:
            command = _loaded(next(iter(entry_points(group=GROUP, name=name))))
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:  # typer vendors its Context class
        try:
            return super().invoke(ctx)
        except MatgenError as error:
            fail(error)
        except OSError as error:
            if error.errno not in _CANNOT_WRITE:
                raise
            where = f" {error.filename}" if error.filename else ""
            fail(UserError(f"cannot write{where}: {error.strerror}; what was there is kept"))


def _mentioned(point: EntryPoint) -> Any:  # typer vendors its Command class
    """Return a command that only stands in lists of commands."""
    source = point.dist.name if point.dist else point.value
    mention = typer.Typer(add_completion=False)
    mention.command(name=point.name, help=f"Added by {source}.")(lambda: None)
    return typer.main.get_command(mention)


def _loaded(point: EntryPoint) -> Any:  # typer vendors its Command class
    """Import a plugin's command.

    Raises:
        PluginProblem: it cannot be imported.
    """
    try:
        function = point.load()
    except Exception as error:  # fence: whatever a plugin's import raises
        source = point.dist.name if point.dist else point.value
        raise PluginProblem(
            f"the command {point.name!r} of {source} cannot be imported: "
            f"{type(error).__name__}: {error}; mend or uninstall {source}"
        ) from error
    added = typer.Typer(add_completion=False)
    added.command(name=point.name)(function)
    return typer.main.get_command(added)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, sample and evaluate autoregressive crystal generators; every part a plugin.",
    epilog=(
        "Start with:  `matgen sample -n 8 --out crystals.extxyz`  ·  "
        "`matgen evaluate crystals.extxyz --relax chgnet`  ·  `matgen train --ordering high`"
    ),
)
app.command()(train)
app.command()(sample)
app.add_typer(evaluate_app, name="evaluate")
app.command()(registry)
app.command()(cite)
app.add_typer(plugins_app, name="plugins")
app.add_typer(data_app, name="data")
app.command()(shortlist)
app.add_typer(dft_app, name="dft")
app.add_typer(hull_app, name="hull")
app.add_typer(runs_app, name="runs")
app.add_typer(models_app, name="model")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"matgen {__version__}")
        raise typer.Exit


@app.callback()
def matgen(
    ctx: typer.Context,
    registry_file: Annotated[
        Path | None,
        typer.Option("--registry", help="A registry.toml over the shipped one and your own."),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback prints and leaves
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep the registry layers for the command that runs."""
    own = Path(typer.get_app_dir("matgen")) / "registry.toml"
    layers = [own] if own.exists() else []
    ctx.obj = [*layers, registry_file] if registry_file else layers


def main() -> None:
    """Run the command line: the console script ``matgen``."""
    app()
