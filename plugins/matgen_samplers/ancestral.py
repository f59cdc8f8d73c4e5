"""Ancestral sampling: one token after another from the model's distribution under the grammar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from matgen import Draft, Sampler
from matgen.errors import BadOptions

if TYPE_CHECKING:
    from matgen import Grammar
    from matgen.generation.decoder import Decoder, Request
    from matgen.generation.streams import Streams
    from matgen.roles.sampler import Score


class Ancestral(Sampler):
    """Draws every token at random, as the model weighs it; rows that finish make place for others.

    Sample i depends on the seed and on i, not on the batch it is drawn in, up to the rounding of
    the network.
    """

    name = "ancestral"

    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits: below 1 prefers the likely, above 1 evens out."""
    temperature_per_kind: dict[str, float] = Field(default_factory=dict)
    """Other temperatures for some kinds of positions, such as {coordinate = 0.8}; the names are
    those of the grammar."""
    top_k: int = Field(default=0, ge=0)
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Keep the likeliest tokens that make up this mass; 1 keeps all."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Keep tokens at least this fraction as likely as the likeliest; 0 keeps all."""
    retries: int = Field(default=16, ge=0)
    """Times that a sample is begun again, with other random numbers, when constraints leave it no
    token: rejection, which keeps the distribution of those that finish."""
    batch_size: int = Field(default=128, ge=1)
    """Rows decoded at once; bounded by memory, changes no sample."""

    def draw(
        self,
        decoder: Decoder,
        grammar: Grammar,
        requests: Sequence[Request],
        *,
        max_tokens: int,
        streams: Streams,
        score: Score | None = None,  # noqa: ARG002 - the role's signature; this one does not search
    ) -> Iterator[Draft]:
        """Yield drafts as rows finish.

        Raises:
            BadOptions: a temperature for a kind that the grammar does not have, or none above 0.
        """
        from matgen_samplers.batch import Batch

        batch = Batch(
            self,
            temperatures=kind_temperatures(self, grammar.kind_names),
            decoder=decoder,
            grammar=grammar,
            max_tokens=max_tokens,
            streams=streams,
        )
        return batch.run(requests)


def kind_temperatures(settings: Ancestral, kind_names: Sequence[str]) -> list[float]:
    """Return the temperature of each kind of position.

    Raises:
        BadOptions: a kind that is not among ``kind_names``, or a temperature that is not positive.
    """
    given: Mapping[str, float] = settings.temperature_per_kind
    unknown = sorted(set(given) - set(kind_names))
    if unknown:
        raise BadOptions(
            f"temperature_per_kind names {', '.join(unknown)}; this representation has the kinds "
            f"{', '.join(kind_names)}"
        )
    for kind, value in given.items():
        if not 0 < value < float("inf"):
            raise BadOptions(f"temperature_per_kind: {kind}={value:g} must be a number above 0")
    return [given.get(kind, settings.temperature) for kind in kind_names]
