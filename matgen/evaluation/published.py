"""Published figures, and which of them may stand beside a report's.

``published.json`` beside this file holds one object per row: ``label`` (the protocol label that an
evaluation must have, letter for letter: same protocol, potential, hull, reference and truth),
``model``, ``figures`` (named as in a report; rates as fractions) and ``source``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """The figures of one model under one protocol.

    Attributes:
        label: Protocol label as in a report's settings.
        model: As its authors call it.
        figures: Figure to value in the report's unit.
        source: Where it is printed.
    """

    label: str
    model: str
    figures: Mapping[str, float]
    source: str


def beside(label: str) -> list[PublishedRow]:
    """Return the rows that were measured as ``label`` says; none for an empty label."""
    return [row for row in published() if label and row.label == label]


@cache
def published() -> tuple[PublishedRow, ...]:
    """Return every published row."""
    path = Path(__file__).with_name("published.json")
    return tuple(PublishedRow(**row) for row in json.loads(path.read_text(encoding="utf-8")))
