"""Token stores for a plan, with a progress bar: shared by ``train`` and ``data prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from matgen.commands.console import progress_bar, say
from matgen.errors import BadFile, BadOptions

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.data.token_store import TokenStore
    from matgen.plan import TrainPlan
    from matgen.roles.component import Component
    from matgen.roles.dataset import Split
    from matgen.roles.executor import Executor


def prepare_stores(plan: TrainPlan, folder: Path, catalog: Catalog) -> dict[str, TokenStore]:
    """Return the stores of both splits, built where they are not there yet.

    The validation split sees representation and conditions as fitted on the training split.
    """
    from matgen.data.prepare import prepare
    from matgen.data.prepare_plan import PreparePlan

    executor = cast("Executor", catalog.build("executor", catalog.choices.default("executor")))
    stores: dict[str, TokenStore] = {}
    representation, conditions = plan.spec.representation, plan.spec.conditions
    splits: tuple[Split, ...] = ("train", "val")
    if lacking := [split for split in splits if split not in plan.dataset.splits]:
        raise BadOptions(
            f"dataset {plan.dataset.name!r} has no split {lacking[0]!r} (it has "
            f"{', '.join(plan.dataset.splits)}), and training needs one to validate on; make one: "
            "matgen data split DATASET --by formula --out DIR"
        )
    for split in splits:
        with progress_bar() as bar:
            task = bar.add_task(f"{plan.dataset.name} {split}", total=None)

            class Show:
                """Moves the bar."""

                def on_chunk(self, n_records: int) -> None:
                    bar.advance(task, n_records)  # noqa: B023 - used within this turn only

            stores[split] = prepare(
                PreparePlan(
                    dataset=plan.dataset,
                    split=split,
                    representation=representation,
                    ordering=plan.spec.ordering,
                    conditions=conditions,
                    seed=plan.settings.seed,
                    optional=plan.optional,
                ),
                folder,
                catalog,
                executor,
                observer=Show(),
            )
            bar.update(task, total=len(stores[split]), completed=len(stores[split]))
        representation, conditions = stores["train"].representation, stores["train"].conditions
        _tell(split, stores[split])
    return stores


def open_stores(plan: TrainPlan, folder: Path, catalog: Catalog) -> dict[str, TokenStore]:
    """Return stores that ``matgen data prepare`` wrote, checked against the plan.

    Raises:
        BadFile: not exactly one store of each split in the folder.
        BadOptions: made with another representation or ordering, or without a condition.
    """
    from matgen.data.token_store import TokenStore

    stores: dict[str, TokenStore] = {}
    for split in ("train", "val"):
        found = sorted(folder.glob(f"{split}-*/index.json"))
        if len(found) != 1:
            raise BadFile(f"{folder} holds {len(found)} token stores of split {split!r}, not one")
        store = TokenStore.open(found[0].parent, catalog)
        for role, made, wanted, same in (
            (
                "representation",
                store.representation,
                plan.spec.representation,
                store.representation.answers(plan.spec.representation),
            ),
            (
                "ordering",
                store.ordering,
                plan.spec.ordering,
                store.ordering == plan.spec.ordering,
            ),
        ):
            if not same:
                raise BadOptions(
                    f"{found[0].parent} was prepared with another {role} than this run asks for "
                    f"({_difference(made, wanted)}); prepare it again, or give the same settings"
                )
        have, want = (
            [c.label for c in conditions] for conditions in (store.conditions, plan.spec.conditions)
        )
        if have != want:
            raise BadOptions(
                f"{found[0].parent} was prepared for the conditions {', '.join(have)}; this run "
                f"asks for {', '.join(want)}"
            )
        _check_conditions(plan, store)
        stores[split] = store
    return stores


def _check_conditions(plan: TrainPlan, store: TokenStore) -> None:
    """Refuse a store made with other settings of a condition than were chosen for this run.

    What nobody chose may differ: the conditions of the store are fitted to the training values.
    """
    for have, want in zip(store.conditions, plan.spec.conditions, strict=True):
        chosen = {name: getattr(want, name) for name in want.model_fields_set}
        same = all(getattr(have, name, None) == value for name, value in chosen.items())
        if type(have) is not type(want) or not same:
            raise BadOptions(
                f"{store.path} was prepared with another condition {want.label!r} than this run "
                f"asks for ({_difference(have, want)}); prepare it again"
            )


def _difference(made: Component, wanted: Component) -> str:
    """Return in which settings two components differ, in a line."""
    if type(made) is not type(wanted):
        return f"{made.name} there, {wanted.name} here"
    told = []
    for name in type(made).model_fields:
        there, here = getattr(made, name), getattr(wanted, name)
        if there != here:
            long = max(len(repr(there)), len(repr(here))) > 60
            told.append(f"{name} differs" if long else f"{name} is {there!r} there, {here!r} here")
    return "; ".join(told)


def store_report(store: TokenStore) -> dict[str, object]:
    """Return what a store says of itself, for run.json and ``--json``."""
    kept = (
        "fingerprint", "n_sequences", "n_tokens", "dropped", "oxidation", "known", "range",
        "quantiles",
    )  # fmt: skip
    # Written before there were quantiles, a store lacks them.
    return {key: store.index[key] for key in kept if key in store.index}


def _tell(split: str, store: TokenStore) -> None:
    dropped = store.index["dropped"]
    if dropped:
        told = ", ".join(f"{count} {kind}" for kind, count in dropped.items())
        say(f"{split}: left out {told}; reasons in {store.path / 'dropped.jsonl'}")
    assigned = store.index["oxidation"]
    told = ", ".join(f"{count} {how}" for how, count in sorted(assigned.items()))
    say(f"{split}: {len(store)} crystals; oxidation states {told}")
