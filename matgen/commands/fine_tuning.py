"""Training that starts from another run: what is said of it, saved in run.json, and done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matgen.commands.console import say
from matgen.errors import BadFile, BadOptions, PluginProblem

if TYPE_CHECKING:
    from pathlib import Path

    from matgen.base_run import BaseRun
    from matgen.catalog import Catalog
    from matgen.data.token_store import TokenStore
    from matgen.model_spec import ModelSpec
    from matgen.nn.crystal_model import CrystalModel
    from matgen.plan import TrainPlan
    from matgen.training.warm_start import WarmStart

MOST_NAMED = 6
"""Tokens that are told by name; of more, the first and the last."""


def try_start(plan: TrainPlan, spec: ModelSpec, store: TokenStore) -> dict[str, object]:
    """Return what run.json shall say of the run that a plan starts from, and tell it.

    The start is tried here, on a model that is thrown away, so that a mistake leaves no folder.

    Args:
        spec: The plan's, as fitted to the data.
        store: The training data.

    Raises:
        BadFile, BadOptions: weights that cannot be taken over.
        PluginProblem: a condition was fitted again.
    """
    from matgen.nn.crystal_model import CrystalModel
    from matgen.training.warm_start import warm_start

    base = plan.base
    assert base is not None
    _check_kept(base, plan.spec, store)
    start = warm_start(CrystalModel(spec), base.run.folder, base.run.spec)
    unknown = [label for label in start.conditions.kept if not store.index["known"][label]]
    _tell(base, start, unknown)
    return {
        "run": base.name,
        "sha256": start.sha256,
        "tokens": {
            "kept": len(start.tokens.kept),
            "new": len(start.tokens.new),
            "dropped": len(start.tokens.dropped),
        },
        "conditions": {
            "kept": list(start.conditions.kept),
            "new": list(start.conditions.new),
            "dropped": list(start.conditions.dropped),
            "without_values": unknown,
        },
        "numbers": {"kept": start.n_kept, "new": start.n_new},
    }


def start_again(
    saved: Mapping[str, Any],  # JSON values
    folder: Path,
    catalog: Catalog,
) -> Callable[[CrystalModel], None]:
    """Return what gives a fresh model of a run the weights that the run starts from.

    The other run is read only when that is called: a run with a checkpoint does without it.

    Args:
        saved: What the run's run.json says of the other one.
        folder: Of the run.
    """

    def start(model: CrystalModel) -> None:
        from matgen.base_run import BaseRun
        from matgen.training.warm_start import warm_start

        name = str(saved["run"])
        try:
            base = BaseRun.load(name, catalog)
            found = warm_start(model, base.run.folder, base.run.spec).sha256
        except BadFile as error:
            raise BadFile(
                f"{folder} has no checkpoint to go on from, and the run that it starts from cannot "
                f"be read: {error}; put {name} back, or train anew with another --from and --out"
            ) from None
        if found != saved["sha256"]:
            raise BadOptions(
                f"the weights in {name} are others than {folder} was started from; train anew with "
                f"--from {name} and another --out"
            )

    return start


def _check_kept(base: BaseRun, spec: ModelSpec, store: TokenStore) -> None:
    """Refuse data in which a condition of the old model is not what it was."""
    labels = {condition.label for condition in base.run.spec.conditions}
    for want, have in zip(spec.conditions, store.conditions, strict=True):
        if want.label in labels and want != have:
            raise PluginProblem(
                f"condition {want.label!r} was fitted again in {store.path}, and would no longer "
                f"mean what {base.name} learned: its fitted() must leave what is fitted as it is "
                "(matgen.testing.check_condition)"
            )


def _tell(base: BaseRun, start: WarmStart, unknown: Sequence[str]) -> None:
    tokens, conditions = start.tokens, start.conditions
    say(
        f"from {base.name}: {len(tokens.kept):,} tokens, {_count(conditions.kept, 'condition')} "
        f"and {start.n_kept:,} of {start.n_kept + start.n_new:,} learned numbers"
    )
    told = [
        f"{what}: {_count(change_tokens, 'token')}, {_count(change_conditions, 'condition')}"
        for what, change_tokens, change_conditions in (
            ("new", tokens.new, conditions.new),
            ("dropped", tokens.dropped, conditions.dropped),
        )
        if change_tokens or change_conditions
    ]
    if told:
        say("; ".join(told))
    if unknown:
        say(
            f"no crystal of these data has a known {', '.join(unknown)}: can still be asked for, "
            f"as {base.name} learned it"
        )


def _count(names: Sequence[str], what: str) -> str:
    """Return how many there are, and which."""
    counted = f"{len(names):,} {what}{'' if len(names) == 1 else 's'}"
    if not names:
        return f"no {what}"
    listed = ", ".join(names) if len(names) <= MOST_NAMED else f"{names[0]} … {names[-1]}"
    return f"{counted} ({listed})"
