"""Values of runs as people read them: settings, losses, times, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from matgen.run_comparison import Value, differences
from matgen.stored_run import StoredRun

_LONGEST: Final = 160
"""Letters of a value in a table; ``--json`` has all of it."""
_LONGEST_LABEL: Final = 72


def outcome_text(key: str, value: float | None) -> str:
    """Return a figure of merit as people read it; a dash where there is none."""
    if value is None:
        return "–"
    if key == "seconds":
        hours, minutes = divmod(round(value) // 60, 60)
        return f"{hours}:{minutes:02}:{round(value) % 60:02}"
    if key in {"tokens", "tokens_per_s", "memory_mb"}:
        return f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def value_text(value: object) -> str:
    """Return a setting as people read it; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(map(str, value)) or "none"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]} …"


def legend_labels(runs: Sequence[StoredRun], names: Sequence[str]) -> list[str]:
    """Return each run's name, with what sets it apart from the others where that is short."""
    told = {
        name: values
        for name, values in differences(runs).items()
        if not name.startswith(("data.", "versions."))
    }
    if not 0 < len(told) <= 3:
        return list(names)
    labels = []
    for place, name in enumerate(names):
        parts = [f"{_last_part(k)} {value_text(_named(v[place]))}" for k, v in told.items()]
        labels.append(f"{name}: {', '.join(parts)}")
    return labels if max(map(len, labels)) <= _LONGEST_LABEL else list(names)


def settings_text(settings: Mapping[str, object]) -> str:
    """Return a component's settings on a line, without those that are empty."""
    told = {key: value for key, value in settings.items() if value not in (None, [])}
    return ", ".join(f"{key} {value_text(one_text(value))}" for key, value in told.items())


def one_text(value: object) -> object:
    """Return a nested setting as one text; what repeats is written once."""
    if isinstance(value, Mapping):
        return f"({settings_text(value)})" if value else "none"
    if isinstance(value, list) and any(isinstance(held, dict | list) for held in value):
        runs = [(str(one_text(held)), len(list(same))) for held, same in groupby(value)]
        return ", ".join(f"{n} × {text}" if n > 1 else text for text, n in runs)
    return value


def bare(qualified: str) -> str:
    """Return a component's name without its plugin's."""
    return qualified.rpartition(":")[2]


def _last_part(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _named(value: Value) -> object:
    return bare(value) if isinstance(value, str) else value
