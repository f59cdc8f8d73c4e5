"""Token stores for a plan, with a progress bar: shared by ``train`` and ``data prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from matgen.commands.console import progress_bar, say

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.data.token_store import TokenStore
    from matgen.plan import TrainPlan
    from matgen.roles.executor import Executor


def prepare_stores(plan: TrainPlan, folder: Path, catalog: Catalog) -> dict[str, TokenStore]:
    """Return the stores of both splits, built where they are not there yet.

    The validation split sees the conditions as fitted on the training split.
    """
    from matgen.data.prepare import PreparePlan, prepare
    from matgen.roles.dataset import Split

    executor = cast("Executor", catalog.build("executor", catalog.choices.default("executor")))
    stores: dict[str, TokenStore] = {}
    conditions = plan.spec.conditions
    for split in ("train", "val"):
        with progress_bar() as bar:
            task = bar.add_task(f"{plan.dataset.name} {split}", total=None)

            class Show:
                """Moves the bar."""

                def on_chunk(self, n_records: int) -> None:
                    bar.advance(task, n_records)  # noqa: B023 - used within this turn only

            stores[split] = prepare(
                PreparePlan(
                    dataset=plan.dataset,
                    split=cast("Split", split),
                    representation=plan.spec.representation,
                    ordering=plan.spec.ordering,
                    conditions=conditions,
                    seed=plan.settings.seed,
                ),
                folder,
                catalog,
                executor,
                observer=Show(),
            )
            bar.update(task, total=len(stores[split]), completed=len(stores[split]))
        conditions = stores["train"].conditions
        _tell_dropped(split, stores[split])
    return stores


def store_report(store: TokenStore) -> dict[str, object]:
    """Return what a store says of itself, for run.json and ``--json``."""
    kept = ("fingerprint", "n_sequences", "n_tokens", "dropped", "oxidation", "known", "range")
    return {key: store.index[key] for key in kept}


def _tell_dropped(split: str, store: TokenStore) -> None:
    dropped = store.index["dropped"]
    if dropped:
        told = ", ".join(f"{count} {kind}" for kind, count in dropped.items())
        say(f"{split}: left out {told}; reasons in {store.path / 'dropped.jsonl'}")
