"""Stored runs as rows for people and as JSON: what ``matgen runs`` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from matgen.commands.run_texts import bare, outcome_text, settings_text, value_text
from matgen.found_runs import DamagedRun
from matgen.run_comparison import ROLES, changed_settings, differences, outcome
from matgen.stored_run import StoredRun
from matgen.training.curve_page import Table

LIST_HEADER: Final = (
    "run", "created", "state", "steps (epochs)", "lowest loss", "time", "data, ordering",
    "backbone",
)  # fmt: skip
"""Of ``list_row``; the loss in nats per token and its step, the backbone by layers × width."""
_OUTCOMES: Final = {
    "best_loss": "lowest validation loss (nats/token)",
    "best_step": "at step",
    "given": "… with conditions given",
    "free": "… with none given",
    "first_loss": "first validation loss",
    "last_loss": "last validation loss",
    "validations_since_best": "validations since the lowest",
    "fall_in_last_fifth": "fall of the lowest in the last fifth of the steps",
    "training_loss": "training loss at the end",
    "steps": "steps",
    "epochs": "whole epochs",
    "tokens": "crystal tokens",
    "seconds": "training time",
    "tokens_per_s": "tokens/s",
    "skipped_steps": "skipped steps",
    "gradient_norm": "gradient norm, median",
    "memory_mb": "most memory (MB)",
    "parameters": "parameters",
}


def overview(run: StoredRun | DamagedRun) -> dict[str, object]:
    """Return a run as ``matgen runs list --json`` prints it."""
    told: dict[str, object] = {
        "path": str(run.folder),
        "created": run.created.isoformat(timespec="seconds"),
        "state": str(run.state),
        "problems": list(run.problems),
    }
    if isinstance(run, DamagedRun):
        return told
    backbone, settings = run.component("backbone")
    ended = outcome(run)
    kept = ("steps", "epochs", "best_loss", "best_step", "seconds", "tokens", "parameters")
    return {
        **told,
        **{key: ended[key] for key in kept},
        **{role: run.component(role)[0] for role in ("dataset", "representation", "ordering")},
        "backbone": {"use": backbone, "settings": settings},
    }


def list_row(run: StoredRun | DamagedRun) -> tuple[str, ...]:
    """Return a run as a row under ``LIST_HEADER``."""
    found = (str(run.folder), f"{run.created.astimezone():%Y-%m-%d %H:%M}", str(run.state))
    if isinstance(run, DamagedRun):
        return (*found, *("" for _ in LIST_HEADER[len(found) :]))
    ended = {key: outcome_text(key, value) for key, value in outcome(run).items()}
    steps, lowest, at = (ended[key] for key in ("steps", "best_loss", "best_step"))
    return (
        *found,
        f"{steps} ({ended['epochs']})" if run.step else "–",
        f"{lowest} at {at}" if run.best else "–",
        ended["seconds"],
        f"{bare(run.component('dataset')[0])}, {bare(run.component('ordering')[0])}",
        _backbone(run),
    )


def show_tables(run: StoredRun) -> list[Table]:
    """Return what ``matgen runs show`` prints."""
    settings = {role: run.component(role) for role in ROLES}
    told = {key: run.base.get(key) for key in ("tokens", "conditions", "numbers")}
    base = [("started from", str(run.base.get("run")), settings_text(told))] if run.base else []
    counts = ("n_sequences", "n_tokens", "dropped", "fingerprint")
    return [
        Table("model and dataset", ("part", "name", "settings"), [
            *((role, name, settings_text(held)) for role, (name, held) in settings.items()),
            *base,
        ]),
        Table("conditions", ("condition", "known for", "lowest", "highest", "settings"),
              list(_condition_rows(run))),
        Table("changed training settings", ("setting", "value", "default"), [
            (name.removeprefix("training."), value_text(value), value_text(default))
            for name, (value, default) in changed_settings(run).items()
        ]),
        Table("data", ("split", "crystals", "tokens", "left out", "fingerprint"), [
            (split, *(_counted(told.get(key)) for key in counts))
            for split, told in run.info["data"].items()
        ]),
        Table("how it went", ("figure", "value"), _outcome_rows([outcome(run)])),
    ]  # fmt: skip


def show_json(run: StoredRun) -> dict[str, object]:
    """Return what ``matgen runs show --json`` prints."""
    changed = changed_settings(run)
    steps, validations = run.curves.steps, run.curves.validations
    return {
        **overview(run),
        "changed_settings": {k: {"value": v, "default": d} for k, (v, d) in changed.items()},
        **{key: run.info[key] for key in ("model", "dataset", "training", "data")},
        "matgen": run.info.get("matgen"),
        "versions": run.info.get("versions"),
        "plugins": run.info.get("plugins"),
        "last_step": _finite(asdict(steps[-1])) if steps else None,
        "last_validation": _finite(asdict(validations[-1])) if validations else None,
        "outcome": outcome(run),
    }


def comparison_tables(runs: Sequence[StoredRun], names: Sequence[str]) -> list[Table]:
    """Return what differs between runs, and how each ended."""
    rows = [
        (name, *(value_text(value) for value in values))
        for name, values in differences(runs).items()
    ]
    return [
        Table("what differs", ("", *names), rows),
        Table("how they went", ("", *names), _outcome_rows([outcome(run) for run in runs])),
    ]


def _outcome_rows(outcomes: Sequence[Mapping[str, float | None]]) -> list[tuple[str, ...]]:
    """Return a row per figure of merit, a column per run."""
    keys = dict.fromkeys(key for outcome in outcomes for key in outcome)
    rows = []
    for key in sorted(keys, key=_place):
        values = [outcome.get(key) for outcome in outcomes]
        if any(value is not None for value in values):
            texts = (outcome_text(key, value) for value in values)
            rows.append((_OUTCOMES.get(key, f"… on {key.partition('.')[2]} tokens"), *texts))
    return rows


def _backbone(run: StoredRun) -> str:
    """Return name and size of the network; layers × width where it has these settings."""
    name, settings = run.component("backbone")
    size = [" × ".join(str(settings[key]) for key in ("layers", "width") if key in settings)]
    if run.weights is not None:
        size.append(f"{run.weights.n_parameters / 1e6:.3g} M")
    return " ".join([bare(name), ", ".join(filter(None, size))]).strip()


def _condition_rows(run: StoredRun) -> Iterator[tuple[str, ...]]:
    """Yield name, share of the training set, range and settings of each condition."""
    train = run.info["data"]["train"]
    known, ranges = train.get("known", {}), train.get("range", {})
    conditions = run.info["model"]["conditions"]
    # A condition on a column is called what the column is, which only its counts here tell.
    same = len(known) == len(conditions)
    labels = list(known) if same else [bare(saved.get("use", "")) for saved in conditions]
    for label, saved in zip(labels, conditions, strict=True):
        count, of = known.get(label), train.get("n_sequences")
        share = f"{100 * count / of:.1f} %" if count is not None and of else "–"
        # Rounding errors of a zero, -4e-14, are nothing to look at.
        limits = [f"{round(limit, 6) + 0.0:.4g}" for limit in ranges.get(label, ())] or ["", ""]
        yield (label, share, *limits, settings_text(saved.get("settings", {})))


def _place(key: str) -> float:
    """Return where a figure of merit comes; kinds of token behind the loss without conditions."""
    order = list(_OUTCOMES)
    return order.index(key) if key in _OUTCOMES else order.index("free") + 0.5


def _counted(value: object) -> str:
    """Return a count, or counts by what was counted."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_counted(count)}" for key, count in value.items()) or "0"
    return f"{value:,}" if isinstance(value, int) else value_text(value)


def _finite(value: Any) -> Any:  # JSON values
    """Return a value with None for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _finite(held) for key, held in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
