"""``matgen plugins``: what is installed, and the settings of each component."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Print installed plugins and their components.",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)


@app.callback()
def plugins(
    ctx: typer.Context,
    role: Annotated[str | None, typer.Option(help="Only the components of this role.")] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print every plugin with its distribution, and every component by role.

    Examples: `matgen plugins`  ·  `matgen plugins --role ordering`
    """
    if ctx.invoked_subcommand:
        return
    from matgen.commands.console import catalog_of, print_json, print_table
    from matgen.roles import ROLES
    from matgen.roles import role as find_role

    catalog = catalog_of(ctx)
    roles = [find_role(role).name] if role else list(ROLES)
    offered = {
        name: [(q, cls.__doc__ or "") for q, cls in catalog.registry(name).classes.items()]
        for name in roles
    }
    found = catalog.plugins()
    if json_out:
        print_json(
            {
                "plugins": [vars(plugin) for plugin in found],
                "components": {name: [q for q, _ in rows] for name, rows in offered.items()},
            }
        )
        return
    if not role:
        print_table(
            ("plugin", "distribution", "state"),
            [(p.name, f"{p.distribution} {p.version}", p.problem or "ok") for p in found],
        )
    print_table(
        ("role", "name", "what it is"),
        [
            (name, qualified, text.strip().partition("\n")[0])
            for name, rows in offered.items()
            for qualified, text in rows
        ],
    )


@app.command()
def show(
    ctx: typer.Context,
    role: Annotated[str, typer.Argument(help="ordering, condition, backbone …")],
    name: Annotated[str, typer.Argument(help="high, or materium:high")],
    json_out: Annotated[bool, typer.Option("--json", help="Print its JSON schema.")] = False,
) -> None:
    """Print what a component is and the settings it takes.

    Example: `matgen plugins show backbone llama`
    """
    import inspect

    from matgen.commands.console import catalog_of, print_json, print_table

    catalog = catalog_of(ctx)
    qualified = catalog.resolve(role, name)
    cls = catalog.get(role, qualified)
    if json_out:
        print_json(cls.model_json_schema())
        return
    typer.echo(f"{role} {qualified}, revision {cls.revision}\n")
    typer.echo(inspect.getdoc(cls) or "")
    for reference in cls.cites:
        typer.echo(f"cites: {reference}")
    rows = [
        (
            field,
            str(info.annotation).replace("typing.", ""),
            "required" if info.is_required() else repr(info.get_default(call_default_factory=True)),
            " ".join((info.description or "").split()),
        )
        for field, info in cls.model_fields.items()
    ]
    if rows:
        typer.echo("")
        print_table(("setting", "type", "default", "meaning"), rows)
