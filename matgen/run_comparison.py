"""What distinguishes runs, and how each ended: flat names to values, read from stored runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from matgen.stored_run import StoredRun
from matgen.training.settings import TrainingSettings

Value = str | float | bool | list[object] | None
"""A setting as JSON has it."""

ROLES = ("dataset", "representation", "ordering", "backbone")
_PARTS = (*ROLES, "condition", "from", "training", "data", "versions")


def settings_of(run: StoredRun) -> dict[str, Value]:
    """Return all that a run was made with: ``backbone.width``, ``training.seed``, ``data.train …``.

    A component is its qualified name under its role; each condition is a name of its own.
    """
    found: dict[str, Value] = {}
    for role in ROLES:
        name, settings = run.component(role)
        found |= {role: name, **_flat(settings, role)}
    for condition in conditions_of(run):
        found |= condition
    found |= _flat({key: run.base.get(key) for key in ("run", "sha256")}, "from")
    found |= _flat(run.info["training"], "training")
    for split, told in run.info["data"].items():
        counted = {key: told.get(key) for key in ("n_sequences", "n_tokens", "fingerprint")}
        found |= _flat(counted, f"data.{split}")
    versions = run.info.get("versions")
    known = versions if isinstance(versions, dict) else {}
    return found | _flat({"matgen": run.info.get("matgen"), **known}, "versions")


def conditions_of(run: StoredRun) -> list[dict[str, Value]]:
    """Return each condition of the model: its name, and its settings below it."""
    found: list[dict[str, Value]] = []
    taken: list[str] = []
    for saved in run.info["model"]["conditions"]:
        name = f"condition.{saved.get('use', '')}"
        # Columns of a table are conditions of one kind, told apart by their settings.
        n_before = taken.count(name)
        taken.append(name)
        key = f"{name}#{n_before + 1}" if n_before else name
        found.append({key: "yes", **_flat(saved.get("settings", {}), key)})
    return found


def differences(runs: Sequence[StoredRun]) -> dict[str, list[Value]]:
    """Return what is not the same in all runs, with the value of each; None where one lacks it.

    Of a condition that not all have, only its name.
    """
    each = [settings_of(run) for run in runs]
    names = sorted(dict.fromkeys(name for own in each for name in own), key=_part)
    values = {name: [own.get(name) for own in each] for name in names}
    found = {name: held for name, held in values.items() if any(v != held[0] for v in held)}
    lacked = [f"{name}." for name in found if name.startswith("condition.") and None in found[name]]
    return {name: held for name, held in found.items() if not name.startswith(tuple(lacked))}


def changed_settings(run: StoredRun) -> dict[str, tuple[Value, Value]]:
    """Return the training settings that are not today's defaults: value and default.

    The default is None for a setting that there no longer is.
    """
    defaults = _flat(TrainingSettings().model_dump(mode="json"), "training")
    own = _flat(run.info["training"], "training")
    return {k: (v, defaults.get(k)) for k, v in own.items() if v != defaults.get(k)}


def outcome(run: StoredRun) -> dict[str, float | None]:
    """Return how a run ended, or stands: losses in nats per crystal token, None where unknown.

    ``given``, ``free`` and ``kind.…`` are those of the lowest validation loss, ``training_loss`` is
    the mean over the last twentieth of the logged steps, ``fall_in_last_fifth`` how much the
    validation loss still fell in the last fifth of the steps.
    """
    curves, best = run.curves, run.curves.best
    first = curves.validations[0] if curves.validations else None
    last = curves.validations[-1] if curves.validations else None
    kinds = best.kinds if best else {}
    unimproved = sum(line.step > best.step for line in curves.validations) if best else None
    tokens, seconds, n_skipped = run.tokens, run.seconds, run.n_skipped
    logged = bool(run.step)
    told: dict[str, float | None] = {
        "best_loss": run.best[0] if run.best else None,
        "best_step": run.best[1] if run.best else None,
        "given": best.given if best else None,
        "free": best.free if best else None,
        **{f"kind.{kind}": loss for kind, loss in kinds.items()},
        "first_loss": first.loss if first else None,
        "last_loss": last.loss if last else None,
        "validations_since_best": unimproved,
        "fall_in_last_fifth": _fall(run),
        "training_loss": _last_training_loss(run),
        "steps": run.step if logged else None,
        "epochs": run.epoch if logged else None,
        "tokens": tokens if logged else None,
        "seconds": seconds if logged else None,
        "tokens_per_s": tokens / seconds if logged and seconds else None,
        "skipped_steps": n_skipped if logged else None,
        "gradient_norm": _median([line.gradient_norm for line in curves.steps]),
        "memory_mb": max((line.memory_mb for line in curves.steps), default=None),
        "parameters": run.weights.n_parameters if run.weights else None,
    }
    return {k: v if v is not None and math.isfinite(v) else None for k, v in told.items()}


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return a short name for each folder: the end of its path, as long as it takes to differ."""
    parts = [folder.resolve().parts for folder in folders]
    longest = max((len(p) for p in parts), default=0)
    for length in range(1, longest + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _part(name: str) -> int:
    """Return where what a name begins with comes in a comparison."""
    return _PARTS.index(name.partition(".")[0])


def _fall(run: StoredRun) -> float | None:
    """Return by how much the lowest validation loss fell in the last fifth of the steps."""
    lines = [line for line in run.curves.validations if math.isfinite(line.loss)]
    before = [line.loss for line in lines if line.step <= 0.8 * run.step]
    if len(before) < 2 or len(before) == len(lines):
        return None
    return min(before) - min(line.loss for line in lines)


def _last_training_loss(run: StoredRun) -> float | None:
    losses = [line.loss for line in run.curves.steps if math.isfinite(line.loss)]
    last = losses[-max(1, len(losses) // 20) :]
    return sum(last) / len(last) if last else None


def _median(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return median(finite) if finite else None


def _flat(value: object, name: str) -> dict[str, Value]:
    """Return nested settings under dotted names; lists of plain values stay lists."""
    return dict(_leaves(value, name))


def _leaves(value: object, name: str) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Mapping):
        for key, held in value.items():
            yield from _leaves(held, f"{name}.{key}")
    elif isinstance(value, list) and any(isinstance(held, dict | list) for held in value):
        for place, held in enumerate(value):
            yield from _leaves(held, f"{name}.{place}")
    elif isinstance(value, list | str | int | float) or value is None:
        yield name, value
