"""Role: how sequences are drawn from a decoder under a grammar."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.generation.decoder import Decoder, Request
    from matgen.generation.streams import Streams
    from matgen.records import Draft
    from matgen.roles.representation import Grammar

Score: TypeAlias = "Callable[[Sequence[Draft]], Sequence[float]]"
"""Higher is better; given to samplers that search."""


class Sampler(Component):
    """Draws sequences. Obeys the grammar, knows nothing of what the tokens mean."""

    @abstractmethod
    def draw(
        self,
        decoder: Decoder,
        grammar: Grammar,
        requests: Sequence[Request],
        *,
        max_tokens: int,
        streams: Streams,
        score: Score | None = None,
    ) -> Iterator[Draft]:
        """Yield one draft per request, in any order, each carrying its request's index.

        Args:
            decoder: Model with conditions; rows are begun, appended, forked and rewound here.
            grammar: Language and constraints, already intersected.
            requests: Index, prompt and conditions of each sample.
            max_tokens: A row that reaches it unfinished is yielded as such, never retried forever.
            streams: Random numbers: those of a sample depend on (run seed, its index) alone.
            score: What to search for; samplers that do not search ignore it.
        """
