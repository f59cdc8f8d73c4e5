"""Samples from a generator: what ``matgen sample --generator`` does after parsing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from matgen.commands.console import print_json, progress_bar, say, warn
from matgen.errors import BadOptions

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.records import Sample

_OWN = {"ctx", "out", "n", "generator", "dataset", "seed", "symmetrize", "set_", "json_out"}
"""Parameters of ``matgen sample`` that mean something without a model."""


def refuse_model_flags(ctx: typer.Context) -> None:
    """Raise BadOptions if a flag was typed that only a trained model can obey."""
    for parameter in ctx.command.params:
        typed = str(ctx.get_parameter_source(parameter.name or "")).endswith("COMMANDLINE")
        if typed and parameter.name not in _OWN:
            flag = max(parameter.opts, key=len)
            raise BadOptions(
                f"{flag} is obeyed by a trained model; --generator has none. Its own settings: "
                "matgen plugins show generator NAME"
            )


def sample_from_generator(
    name: str,
    *,
    catalog: Catalog,
    dataset: str | None,
    settings: Sequence[str],
    n: int,
    seed: int,
    out: Path,
    symmetrize: float | None,
    json_out: bool,
) -> None:
    """Draw, write and tell.

    Args:
        dataset: Whose training crystals the generator starts from; None for the default.

    Raises:
        UserError: one sentence that says what to do.
    """
    from matgen.commands.stages import stoppable
    from matgen.generation.generators import generated
    from matgen.io.writing import check_target, write_samples
    from matgen.plan_parts import Settings, build_chosen, named_dataset, parse_settings
    from matgen.roles.generator import Generator

    taken = Settings(parse_settings(settings))
    generator = build_chosen(catalog, Generator, "generator", name, taken)
    source = named_dataset(catalog, dataset, taken.take("dataset"))
    taken.refuse_rest("generator, dataset")
    check_target(out, n)
    started = time.perf_counter()
    session = generator.open(list(source.records("train")))
    opened = time.perf_counter()
    errors: list[str] = []
    with stoppable("nothing was written"), progress_bar() as bar:
        task = bar.add_task("generating", total=n)

        def counted() -> Iterator[Sample]:
            for sample in generated(session, n, seed=seed):
                if sample.crystal is None:
                    errors.append(sample.error)
                bar.advance(task)
                yield sample

        write_samples(out, counted(), asked=n, symmetrize=symmetrize)
    seconds = time.perf_counter() - opened
    if errors:
        warn(f"{len(errors)} of {n} samples are not there; the first: {errors[0]}")
    if json_out:
        print_json(
            {
                "out": str(out),
                "asked": n,
                "written": n - len(errors),
                "generator": catalog.dump(generator),
                "dataset": source.fingerprint(),
                "seed": seed,
                "seconds": round(seconds, 3),
                "start_up_seconds": round(opened - started, 3),
            }
        )
    else:
        say(f"{n / seconds:.0f} crystals per second")
        typer.echo(str(out))
    if len(errors) == n:
        raise BadOptions(f"not one of {n} samples is there: {errors[0]}")
