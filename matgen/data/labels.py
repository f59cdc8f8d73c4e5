"""Values of properties as files give them: numbers in the unit that was stated, or none at all.

Nothing is converted. A value that says another unit than the one stated for its column is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from matgen.data.imported_folder import SOURCE_SUFFIX, TEXT_UNITS
from matgen.errors import BadCrystal
from matgen.records import PropertyValue

UNIT_SUFFIXES: Final = ("_unit", "_units", ".unit", ".units")
"""Of columns that say in which unit each value of another column is."""
_MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "-", "?"})
_WITH_UNIT = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*)?")


def labels_of(info: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, PropertyValue]:
    """Return the values that an entry has of the properties whose unit is stated.

    Args:
        info: What the entry tells, by column.
        units: Column to stated unit.

    Raises:
        BadCrystal: a value that is no finite number, or one in another unit.
    """
    labels, refused = usable_labels_of(info, units)
    for reason in refused.values():
        raise BadCrystal(reason)
    return labels


def usable_labels_of(
    info: Mapping[str, Any], units: Mapping[str, str]
) -> tuple[dict[str, PropertyValue], dict[str, str]]:
    """Return the values as ``labels_of`` does, and why others cannot be used, both by property.

    Args:
        info: What the entry tells, by column.
        units: Column to stated unit.
    """
    labels: dict[str, PropertyValue] = {}
    refused: dict[str, str] = {}
    for title, unit in units.items():
        try:
            value = _value(info.get(title), title, unit)
            if value is not None:
                _check_unit(info, title, unit)
                labels[title] = value
        except BadCrystal as error:
            refused[title] = str(error)
    return labels, refused


def is_about_labels(column: str, columns: Mapping[str, Any]) -> bool:
    """Whether a column only says something of another one: its unit, or where it is from."""
    return any(
        column.endswith(suffix) and column.removesuffix(suffix) in columns
        for suffix in (*UNIT_SUFFIXES, SOURCE_SUFFIX)
    )


def _check_unit(info: Mapping[str, Any], title: str, unit: str) -> None:
    """Raise if a column beside the value says another unit."""
    for suffix in UNIT_SUFFIXES:
        said = info.get(title + suffix)
        if isinstance(said, str) and said.strip() not in ("", unit):
            raise BadCrystal(f"{title} is in {said!r} here; the stated unit is {unit!r}")


def _value(raw: object, title: str, unit: str) -> PropertyValue | None:
    """Return a number or text in the stated unit; None where there is none."""
    if raw is None or (isinstance(raw, str) and raw.strip().lower() in _MISSING):
        # NaN is also how pandas writes a missing text, so the compound NaN is lost as a label.
        return None
    if unit in TEXT_UNITS:
        return raw if isinstance(raw, str) else f"{raw:g}" if isinstance(raw, float) else str(raw)
    if isinstance(raw, str):
        raw = _number(raw, title, unit)
    if isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, int | float):
        raise BadCrystal(f"{title} is {raw!r}; expected a number in {unit}")
    if math.isnan(raw):
        return None
    if math.isinf(raw):
        raise BadCrystal(f"{title} is infinite; expected a number in {unit}")
    return float(raw)


def _number(text: str, title: str, unit: str) -> float:
    match = _WITH_UNIT.fullmatch(text.strip())
    if match is None:
        raise BadCrystal(f"{title} is {text[:80]!r}; expected a number in {unit}")
    if match[2] not in (None, unit):
        raise BadCrystal(f"{title} is {text[:80]!r}; the stated unit is {unit!r}")
    return float(match[1])
