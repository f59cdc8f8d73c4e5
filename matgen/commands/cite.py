"""``matgen cite``: the references behind a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def cite(
    ctx: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(help="A run directory; the shipped model if left out.")
    ] = None,
) -> None:
    """Print the references of every component that a run used.

    Example: `matgen cite runs/high`
    """
    from matgen.commands.console import catalog_of
    from matgen.models.store import find_model
    from matgen.roles.citing import with_parts
    from matgen.run_dir import load_run

    catalog = catalog_of(ctx)
    loaded = load_run(find_model(run), catalog)
    spec = loaded.spec
    dataset = catalog.restore(loaded.info["dataset"])
    components = [dataset, spec.representation, spec.ordering, spec.backbone, *spec.conditions]
    cited: dict[str, list[str]] = {}
    for component in (part for whole in components for part in with_parts(whole)):
        for reference in component.cites:
            users = cited.setdefault(reference, [])
            name = catalog.qualified_name(component)
            if name not in users:
                users.append(name)
    for reference, users in cited.items():
        typer.echo(f"{reference}\n    used by {', '.join(users)}")
