"""Matchers by name, as published evaluators call for them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from matgen.errors import BadOptions
from matgen.evaluation.matching.matchers import DisorderedMatcher, Matcher, OrderedMatcher
from matgen.evaluation.matching.tolerances import DEFAULT, Tolerances

MATCHERS: Final[Mapping[str, Matcher]] = MappingProxyType(
    {
        "ordered": OrderedMatcher(DEFAULT),
        "disordered": DisorderedMatcher(DEFAULT),
        "lemat": OrderedMatcher(Tolerances(length=0.1)),
        "cdvae": OrderedMatcher(Tolerances(length=0.3, site=0.5, angle_deg=10.0)),
        "matbench": OrderedMatcher(Tolerances(site=1.0, scale=False)),
        "flowmm": OrderedMatcher(DEFAULT),
    }
)
"""Name to matcher: pymatgen's defaults, MatterGen's default, LeMat-GenBench's, those of CDVAE and
DiffCSP, Matbench Discovery's, and FlowMM's."""
_NUMBERS: Final = {"ltol": "length", "stol": "site", "angle_tol": "angle_deg"}
_SWITCHES: Final = {"scale": "scale", "supercell": "supercell"}
_EXAMPLE: Final = "ltol=0.2,stol=0.3,angle_tol=5"


def matcher_named(text: str) -> Matcher:
    """Return a matcher by its name or its tolerances.

    Args:
        text: One of ``MATCHERS``, or tolerances with pymatgen's names, those left out at its
            defaults: ``ltol=0.2,stol=0.3,angle_tol=5``, with ``scale=false``, ``supercell=true``
            or ``disordered`` added where wanted.

    Raises:
        BadOptions: no such matcher; says which there are.
    """
    name = text.strip()
    if name in MATCHERS:
        return MATCHERS[name]
    values: dict[str, float | bool] = {}
    disordered = False
    for part in name.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key == "disordered" and not equals:
            disordered = True
        elif key in _NUMBERS and equals and _NUMBERS[key] not in values:
            values[_NUMBERS[key]] = _number(key, value, text)
        elif key in _SWITCHES and value.lower() in ("true", "false") and key not in values:
            values[_SWITCHES[key]] = value.lower() == "true"
        else:
            raise _unknown(text)
    # The mapping's values fit the fields: numbers under _NUMBERS, switches under _SWITCHES.
    tolerances = Tolerances(**values)  # type: ignore[arg-type]
    if disordered:
        if "supercell" in values:
            raise BadOptions(
                f"{text!r}: the disordered matcher always tries supercells after merging and never "
                "before; leave supercell away"
            )
        return DisorderedMatcher(tolerances)
    return OrderedMatcher(tolerances)


def described(text: str) -> str:
    """Return the name and the tolerances of a matcher, for a report."""
    matcher = str(matcher_named(text))
    return matcher if matcher == text else f"{text} ({matcher})"


def _number(key: str, value: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise _unknown(text) from None
    if not 0 < number < 180:
        raise BadOptions(
            f"{text!r}: {key} is {value}; expected a number above 0, lengths and sites as a share, "
            "angles in degrees"
        )
    return number


def _unknown(text: str) -> BadOptions:
    return BadOptions(
        f"no matcher is called {text!r}; known: {', '.join(MATCHERS)}, or tolerances such as "
        f"{_EXAMPLE} (also scale=false, supercell=true, disordered)"
    )
