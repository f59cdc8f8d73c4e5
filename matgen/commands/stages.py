"""What commands that look through data show: a bar for each stage, and how it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from matgen.commands.console import progress_bar, say


@contextmanager
def stage_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Give an observer that shows a bar for each stage it hears of."""
    bar = progress_bar()
    tasks: dict[str, object] = {}

    def show(stage: str, done: int, total: int | None) -> None:
        if stage not in tasks:
            # A bar without a stage would leave an empty line before an error.
            bar.start()
            tasks[stage] = bar.add_task(stage, total=total)
        bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]  # its TaskID

    try:
        yield show
    finally:
        if tasks:
            bar.stop()


@contextmanager
def stoppable(told: str) -> Iterator[None]:
    """Make Ctrl-C say in a line what is left, and leave with 130."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; {told}")
        raise typer.Exit(130) from None
