"""A model described in Markdown from what its run directory holds; measurements are for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matgen.roles.citing import with_parts
from matgen.roles.dataset import DatasetSource
from matgen.run_dir import load_run
from matgen.stored_run import StoredRun, read_run

if TYPE_CHECKING:
    from matgen.catalog import Catalog


def model_card(folder: Path, catalog: Catalog) -> str:
    """Return the card of a run directory: what it is, what it learned from, and how.

    Raises:
        BadFile, NewerFormat, UnknownName: see ``load_run``.
    """
    run = load_run(folder, catalog)
    stored = read_run(folder)
    dataset = catalog.restore(run.info["dataset"])
    parts = [dataset, run.spec.representation, run.spec.ordering, run.spec.backbone]
    parts += run.spec.conditions
    cites = dict.fromkeys(c for whole in parts for part in with_parts(whole) for c in part.cites)
    licence = dataset.licence if isinstance(dataset, DatasetSource) else ""
    lines = [
        f"# {folder.resolve().name}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {told} |" for what, told in _facts(stored, run.info)),
        f"| licence of the data | {licence or 'not stated'} |",
        "",
        "Conditions and the range of their values in training:",
        "",
        "| condition | lowest | highest |",
        "|---|---|---|",
    ]
    for condition in run.spec.conditions:
        low, high = run.trained_range.get(condition.label, ("", ""))
        lines.append(f"| {condition.label} | {_short(low)} | {_short(high)} |")
    lines += ["", "References:", "", *(f"- {reference}" for reference in cites), ""]
    return "\n".join(lines)


def _facts(stored: StoredRun, info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:  # JSON values
    for role in ("representation", "ordering", "backbone", "dataset"):
        name, settings = stored.component(role)
        told = ", ".join(f"{k} {v}" for k, v in settings.items() if not isinstance(v, dict | list))
        yield role, f"`{name}`" + (f": {told}" if told else "")
    train, val = info["data"]["train"], info["data"]["val"]
    yield "trained on", f"{train['n_sequences']:,} crystals, {train['n_tokens']:,} tokens"
    yield "validated on", f"{val['n_sequences']:,} crystals"
    if stored.weights is not None:
        yield "learned numbers", f"{stored.weights.n_parameters:,}"
    if stored.best is not None:
        yield "validation loss", f"{stored.best[0]:.4f} nats a token, at step {stored.best[1]:,}"
    if stored.seconds:
        yield "training time", f"{stored.seconds / 3600:.2f} h"
    training = ", ".join(f"{k} {v}" for k, v in info["training"].items() if v is not None)
    yield "training", training
    versions = info.get("versions") or {}
    yield (
        "made with",
        ", ".join([f"matgen {info.get('matgen')}", *(f"{k} {v}" for k, v in versions.items())]),
    )


def _short(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float | int) else value
