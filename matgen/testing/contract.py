"""What a check raises."""

from __future__ import annotations

from matgen.errors import MatgenError


class ContractBroken(MatgenError, AssertionError):
    """A component breaks a law of its role; the message names the law and what was seen."""


def broken(component: object, law: str, seen: object = "") -> ContractBroken:
    """Return the error that says which law ``component`` breaks.

    Args:
        component: What was checked.
        law: The law, as a statement that should hold.
        seen: What was found instead.
    """
    name = getattr(component, "name", None) or type(component).__name__
    told = str(seen)
    return ContractBroken(f"{name}: {law}" + (f"; seen: {told}" if told else ""))
