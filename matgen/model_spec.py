"""What defines a trained model: the components it is made of, in one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matgen.roles.backbone import Backbone
    from matgen.roles.condition import Condition
    from matgen.roles.ordering import Ordering
    from matgen.roles.representation import Representation


@dataclass(frozen=True)
class ModelSpec:
    """The components of a model.

    Attributes:
        conditions: In the order of their slots in front of the sequence; conditions that the
            representation turns into prompt tokens have no slot.
    """

    representation: Representation
    ordering: Ordering
    backbone: Backbone
    conditions: tuple[Condition, ...]

    @property
    def slotted(self) -> tuple[Condition, ...]:
        """The conditions that take a slot."""
        prompted = self.representation.prompted
        return tuple(c for c in self.conditions if c.label not in prompted)

    @property
    def max_positions(self) -> int:
        """Longest stream of one sample: slots and tokens."""
        return len(self.slotted) + self.representation.max_tokens
