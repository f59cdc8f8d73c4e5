"""What became of each sample, in one word or two: the first thing that went wrong, or ``ok``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from matgen.evaluation.columns import Cell
from matgen.records import Measurement, Relaxation, Sample

OK: Final = "ok"
NOT_SAMPLED: Final = "not sampled"
NO_CRYSTAL: Final = "no crystal"
INVALID: Final = "invalid structure"
NOT_RELAXED: Final = "not relaxed"
OUTSIDE_HULL: Final = "outside hull"
NOT_CONVERGED: Final = "not converged"

MEANINGS: Final[Mapping[str, str]] = {
    OK: "went through everything that was asked for",
    NOT_SAMPLED: "asked for, and never came",
    NO_CRYSTAL: "the sampler finished no crystal",
    INVALID: "sites too close or cell too small",
    NOT_RELAXED: "the potential could not relax it, for the reason named",
    OUTSIDE_HULL: "relaxed, but the hull knows no energy for one of its elements",
    NOT_CONVERGED: "relaxed and counted, but forces were still above the limit at the last step",
}
"""Status to what it says; ``not relaxed`` is followed by a colon and a kind of reason."""

_EXCEPTION: Final = re.compile(r"([A-Z]\w*): ")
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_LONGEST: Final = 60


def statuses(
    samples: Sequence[Sample],
    asked: int,
    relaxations: Sequence[Relaxation] | None,
    measurements: Mapping[str, Measurement],
) -> list[str]:
    """Return one status per sample asked for: the first that holds, in the order of ``MEANINGS``.

    Validity is taken from the column ``valid_structure`` and the hull's refusal from
    ``hull_error``; an evaluation without the evaluators that give them knows neither.
    """
    valid = _column(measurements, "valid_structure", asked)
    outside = _column(measurements, "hull_error", asked)
    found = []
    for index in range(asked):
        sample = samples[index] if index < len(samples) else None
        relaxation = relaxations[index] if relaxations is not None and sample is not None else None
        if sample is None:
            found.append(NOT_SAMPLED)
        elif sample.crystal is None:
            found.append(NO_CRYSTAL)
        elif valid[index] is False:
            found.append(INVALID)
        elif relaxation is not None and relaxation.crystal is None:
            found.append(f"{NOT_RELAXED}: {kind_of(relaxation.error)}")
        elif outside[index]:
            found.append(OUTSIDE_HULL)
        elif relaxation is not None and not relaxation.converged:
            found.append(NOT_CONVERGED)
        else:
            found.append(OK)
    return found


def counted(found: Sequence[str]) -> dict[str, int]:
    """Return status to number of samples, in the order of ``MEANINGS``, then the most frequent."""
    order = list(MEANINGS)
    counts = Counter(found)
    return dict(
        sorted(counts.items(), key=lambda item: (order.index(item[0].split(":")[0]), -item[1]))
    )


def kind_of(error: str) -> str:
    """Return what an error text has in common with others of its kind.

    The class name of an exception; otherwise the text up to its first clause, without numbers,
    so that ``two sites came within 0.21 Å of each other`` is one kind for all distances.
    """
    exception = _EXCEPTION.match(error)
    if exception:
        return exception[1]
    clause = re.split(r"[;:(]", _NUMBER.sub("…", error), maxsplit=1)[0].strip()
    if not clause:
        return "no reason given"
    return clause if len(clause) <= _LONGEST else f"{clause[: _LONGEST - 1].rstrip()}…"


def _column(measurements: Mapping[str, Measurement], name: str, asked: int) -> list[Cell]:
    for measurement in measurements.values():
        if name in measurement.per_sample:
            return measurement.per_sample[name]
    return [None] * asked
