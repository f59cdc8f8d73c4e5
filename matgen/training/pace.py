"""How long a run has trained, and how fast it is now."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass


@dataclass
class Clock:
    """Training time: this sitting's and the earlier ones'.

    Attributes:
        before: Seconds of earlier sittings.
    """

    before: float

    def __post_init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Training time until now."""
        return self.before + time.monotonic() - self._start


class Speed:
    """Speed over the last steps."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, float, int]] = deque(maxlen=50)

    def add(self, tokens: int, seconds: float, step: int) -> None:
        """Remember where the run is."""
        self._marks.append((tokens, seconds, step))

    @property
    def tokens_per_s(self) -> float:
        """Crystal tokens per second."""
        (tokens_0, seconds_0, _), (tokens_1, seconds_1, _) = self._marks[0], self._marks[-1]
        return (tokens_1 - tokens_0) / max(seconds_1 - seconds_0, 1e-9)

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step."""
        (_, seconds_0, step_0), (_, seconds_1, step_1) = self._marks[0], self._marks[-1]
        return (seconds_1 - seconds_0) / max(step_1 - step_0, 1)
