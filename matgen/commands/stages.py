"""One progress bar per stage of a piece of work, for every command that looks through data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from matgen.commands.console import progress_bar


@contextmanager
def stage_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Give an observer that shows a bar for each stage it hears of."""
    with progress_bar() as bar:
        tasks: dict[str, object] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]  # its TaskID

        yield show
