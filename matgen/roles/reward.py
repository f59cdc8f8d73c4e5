"""Role: a score for samples, for search and reinforcement learning."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.records import Sample


class Reward(Component):
    """Scores samples; higher is better."""

    @abstractmethod
    def open(self, device: str) -> Callable[[Sequence[Sample]], Sequence[float]]:
        """Load what it takes and return the scoring function; failed samples score lowest."""
