"""What a person asks a model for: requests, rules and weights, from texts to values.

Names are turned into components by the catalog; every cross-check that needs no network is here.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from matgen.data.sketch import share_near
from matgen.errors import BadFile, BadOptions, UnknownName
from matgen.generation.guidance import REST
from matgen.records import AskedValue, PropertyValue, ValueRange

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.condition import Condition
    from matgen.roles.constraint import Constraint
    from matgen.roles.dataset import DatasetSource
    from matgen.run_dir import Run

Request: TypeAlias = "dict[str, AskedValue]"
"""Condition label to what is asked for: one point of a grid."""

RANGE: Final = ".."
"""Between the ends of a range, as in 3..5."""
RARE: Final = 1e-3
"""Share of the training crystals near a value below which a person is told that they are few."""
_MOST_REQUESTS: Final = 1_000_000
"""Longest table; more is a mistake."""


def parse_requests(
    texts: Sequence[str], conditions: Sequence[Condition], aliases: Mapping[str, str]
) -> list[Request]:
    """Return the grid of requests that ``--cond`` flags span: one empty request if there are none.

    Args:
        texts: ``label=value``; a label given several times, or with several values separated by
            commas, makes one axis of the grid. A range, ``label=3..5``, is one value of an axis.
        conditions: Those the model was trained with.
        aliases: Friendly condition name to qualified name.

    Raises:
        UnknownName: a condition that the model does not know; lists those it does.
        BadOptions: a value out of range, or values that exclude each other.
    """
    known = {condition.label: condition for condition in conditions}
    axes: dict[str, list[AskedValue]] = {}
    for text in texts:
        label, equals, written = text.partition("=")
        if not equals or not written:
            raise BadOptions(f"--cond {text}: write NAME=VALUE, as in --cond band_gap=1.5")
        condition = _known(label, known, aliases)
        axes.setdefault(condition.label, []).extend(_values(condition, written))
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    _refuse_conflicts(grid, known)
    return grid


def read_requests(
    path: Path, conditions: Sequence[Condition], aliases: Mapping[str, str]
) -> list[Request]:
    """Return the requests of a table: one per row, an empty cell is not asked for.

    Args:
        path: Comma-separated values; the first line names the conditions.
        conditions: Those the model was trained with.
        aliases: Friendly condition name to qualified name.

    Raises:
        BadFile: unreadable, or without rows.
        UnknownName, BadOptions: as ``parse_requests``, with the line.
    """
    known = {condition.label: condition for condition in conditions}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(itertools.islice(csv.reader(file), _MOST_REQUESTS + 2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"cannot read {path}: {error}") from None
    numbered = [
        (line, _without_empty_end(row))
        for line, row in enumerate(rows, start=1)
        if any(map(str.strip, row))
    ]
    if len(numbered) < 2:
        raise BadFile(f"{path} needs a line of condition names and a line per request")
    if len(rows) > _MOST_REQUESTS + 1:
        raise BadFile(f"{path} has more than {_MOST_REQUESTS:,} rows; split it")
    titles = [title.strip() for title in numbered[0][1]]
    try:
        columns = [_known(title, known, aliases) for title in titles]
    except UnknownName as error:
        raise UnknownName(
            f"{path}, line {numbered[0][0]}: {error} (columns are separated by commas)"
        ) from None
    if len({condition.label for condition in columns}) < len(columns):
        raise BadFile(f"{path} names a condition twice in its first line")
    requests: list[Request] = []
    for number, row in numbered[1:]:
        if len(row) > len(columns):
            raise BadFile(f"{path}, line {number}: {len(row)} cells for {len(columns)} conditions")
        try:
            asked = {
                condition.label: _value(condition, cell.strip())
                for condition, cell in zip(columns, row, strict=False)
                if cell.strip()
            }
            _refuse_conflicts([asked], known)
        except BadOptions as error:
            raise BadOptions(f"{path}, line {number}: {error}") from None
        requests.append(asked)
    return requests


def parse_guidance(
    texts: Sequence[str], conditions: Sequence[Condition], aliases: Mapping[str, str]
) -> dict[str, float] | None:
    """Return the weights of ``--guidance`` flags, None where there are none.

    Args:
        texts: ``1.5`` for all conditions, ``band_gap=3`` for one.
        conditions: Those the model was trained with.
        aliases: Friendly condition name to qualified name.

    Raises:
        UnknownName, BadOptions: a condition that the model does not know, or no number.
    """
    known = {condition.label: condition for condition in conditions}
    weights: dict[str, float] = {}
    for text in texts:
        label, equals, written = text.rpartition("=")
        try:
            weight = float(written)
        except ValueError:
            raise BadOptions(f"--guidance {text}: write 1.5, or band_gap=3") from None
        weights[_known(label, known, aliases).label if equals else REST] = weight
    return weights or None


def parse_constraints(texts: Sequence[str], catalog: Catalog, run: Run) -> tuple[Constraint, ...]:
    """Return the rules of ``--constraint NAME=TEXT`` flags, for the model of a run.

    Raises:
        UnknownName, BadOptions: no such rule, or a text that it does not read.
    """

    def trained_on() -> DatasetSource:
        return cast("DatasetSource", catalog.restore(run.info["dataset"]))

    rules = []
    for text in texts:
        name, _, written = text.partition("=")
        found = catalog.get("constraint", catalog.resolve("constraint", name))
        rules.append(cast("type[Constraint]", found).parse(written).for_training(trained_on))
    return tuple(rules)


def with_rules(
    grid: Sequence[Request], rules: Sequence[Constraint], conditions: Sequence[Condition]
) -> list[Request]:
    """Return the requests, each also asking for what a rule demands, if the model learned it.

    A rule alone cuts off what the model wants to write; asked for as well, the model wants it.

    Raises:
        BadOptions: a request asks for something else than a rule.
    """
    known = {condition.label: condition for condition in conditions}
    added = {
        label: known[label].parse(text)
        for rule in rules
        for label, text in rule.also_asks.items()
        if label in known
    }
    for request in grid:
        for label, value in added.items():
            if request.get(label, value) != value:
                raise BadOptions(f"{label}={request[label]} is asked for, but the rule is {value}")
    joined = [{**added, **request} for request in grid]
    fixed = {name: value for rule in rules for name, value in rule.fixes.items()}
    _refuse_conflicts(joined, known, fixed)
    return joined


def checked_request(
    asked: Mapping[str, object], conditions: Sequence[Condition]
) -> dict[str, AskedValue]:
    """Return what a program asks for, checked as if a person had written it.

    Args:
        asked: Label to a number, a text, or a ``ValueRange``.
        conditions: Those the model was trained with.

    Raises:
        UnknownName: a condition that the model does not know; lists those it does.
        BadOptions: a value of another kind or out of range, or values that exclude each other.
    """
    known = {condition.label: condition for condition in conditions}
    request = {
        condition.label: _value(condition, _written(condition, value))
        for condition, value in ((_known(label, known, {}), v) for label, v in asked.items())
    }
    _refuse_conflicts([request], known)
    return request


def _written(condition: Condition, value: object) -> str:
    """Return a value as a person would write it."""
    if isinstance(value, ValueRange):
        return RANGE.join(_written(condition, end) for end in value)
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        return str(int(number)) if number.is_integer() else repr(number)
    if isinstance(value, str) and RANGE not in value:
        return value
    raise BadOptions(
        f"{condition.label}={value!r} is no value; give a number, a text, or a ValueRange"
    )


def outside_training(grid: Sequence[Request], run: Run) -> list[str]:
    """Return one sentence per condition, or value of one, that the model was not trained on."""
    known = run.info["data"]["train"].get("known", {})
    unseen = dict.fromkeys(label for request in grid for label in request if known.get(label) == 0)
    base = run.info.get("from")
    learned = f"what it learned of it is from {base['run']}" if base else "it has not learned it"
    told: dict[tuple[str, float], str] = {}
    for request in grid:
        for label, value in request.items():
            low, high = run.trained_range.get(label, (None, None))
            if low is None or high is None or isinstance(value, str):
                continue
            for end in value if isinstance(value, ValueRange) else (value,):
                if not low <= end <= high:
                    told[label, end] = (
                        f"{label}={end:g} is outside the training data ({low:g} to {high:g}); "
                        "expect crystals near the edge of that range at best"
                    )
                elif rare := _rarely_seen(label, end, run):
                    told[label, end] = rare
    return [
        *(f"no crystal that the model was trained on has a known {c}; {learned}" for c in unseen),
        *told.values(),
    ]


def _rarely_seen(label: str, value: float, run: Run) -> str:
    """Return a sentence where hardly any training crystal is near a value, else ""."""
    quantiles = run.trained_quantiles.get(label)
    if quantiles is None:
        return ""
    share, width = share_near(value, quantiles)
    known = run.info["data"]["train"]["known"][label]
    if share >= RARE:
        return ""
    return (
        f"{label}={value:g}: about {share * known:.0f} of {known:,} training crystals are within "
        f"{width:.2g} of that; expect the model to miss it often"
    )


def _without_empty_end(row: list[str]) -> list[str]:
    """Return a row without the empty cells that spreadsheets leave at its end."""
    n = max((place + 1 for place, cell in enumerate(row) if cell.strip()), default=0)
    return row[:n]


def _known(label: str, known: Mapping[str, Condition], aliases: Mapping[str, str]) -> Condition:
    label = aliases.get(label, label).partition(":")[2] or label
    if label not in known:
        listed = ", ".join(known) or "none"
        raise UnknownName(f"this checkpoint was trained without {label!r}; it knows {listed}")
    return known[label]


def _refuse_conflicts(
    grid: Sequence[Request],
    known: Mapping[str, Condition],
    fixed_by_rules: Mapping[str, PropertyValue] | None = None,
) -> None:
    for request in grid:
        # Of a range, some values may fit though others do not.
        fixed = {k: v for k, v in request.items() if not isinstance(v, ValueRange)}
        for label, value in fixed.items():
            others = {other: v for other, v in fixed.items() if other != label}
            others |= fixed_by_rules or {}
            if reason := known[label].conflict(value, others):
                raise BadOptions(f"conditions exclude each other: {reason}")


def _values(condition: Condition, text: str) -> list[AskedValue]:
    try:
        return [_value(condition, text)]
    except BadOptions:
        parts = text.split(",")
        if len(parts) == 1:
            raise
        return [_value(condition, part.strip()) for part in parts]


def _value(condition: Condition, text: str) -> AskedValue:
    low, dots, high = text.partition(RANGE)
    if not dots:
        return condition.parse(text)
    ends = condition.parse(low.strip()), condition.parse(high.strip())
    condition.between(*ends, 0.5)  # refused where there are no ranges
    spread = ValueRange(float(ends[0]), float(ends[1]))
    if not spread.low < spread.high or not math.isfinite(spread.high - spread.low):
        raise BadOptions(f"{condition.label}={text}: a range goes from the lower to the higher")
    return spread
