"""Constraints with a representation: joined where they must look ahead together, then bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matgen.roles.constraint import Constraint
    from matgen.roles.ordering import Ordering
    from matgen.roles.representation import Grammar, Representation


def bound(
    constraints: Sequence[Constraint],
    representation: Representation,
    ordering: Ordering | None = None,
) -> list[Grammar]:
    """Return the constraints as grammars over a representation's tokens.

    Args:
        constraints: In any order.
        representation: Whose tokens are written.
        ordering: In which the model was trained to write, and which rules keep where none of them
            orders the sites itself; None where sites may come in any order.

    Raises:
        BadOptions: one means nothing for this representation, can never be met, or two of them
            contradict each other.
    """
    rules = joined(constraints)
    if ordering is not None and not any(rule.orders_sites for rule in rules):
        rules = [rule.for_ordering(ordering) for rule in rules]
    return [rule.bind(representation) for rule in rules]


def joined(constraints: Sequence[Constraint]) -> list[Constraint]:
    """Return rules that say the same, as few as ``Constraint.join`` makes of them.

    Either of two may know how to join the other, whichever was given first.
    """
    apart: list[Constraint] = []
    for constraint in constraints:
        for place, earlier in enumerate(apart):
            both = earlier.join(constraint) or constraint.join(earlier)
            if both is not None:
                apart[place] = both
                break
        else:
            apart.append(constraint)
    return apart
