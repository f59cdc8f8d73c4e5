"""The sampler of the toy set: one request after another, one token after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from matgen import Draft, Sampler, Tokens

if TYPE_CHECKING:
    from matgen import Grammar
    from matgen.generation.decoder import Decoder, Request
    from matgen.generation.streams import Streams
    from matgen.roles.sampler import Score


class Plain(Sampler):
    """Draws tokens as the model weighs them, a row at a time: slow, and short enough to read."""

    name = "plain"

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
        """Yield the drafts in the order of the requests."""
        for request in requests:
            yield _drawn(decoder, grammar, request, max_tokens, streams)


def _drawn(
    decoder: Decoder, grammar: Grammar, request: Request, max_tokens: int, streams: Streams
) -> Draft:
    import torch

    decoder.begin([request])
    ids = torch.from_numpy(request.prompt.ids).to(decoder.device)
    values = torch.zeros(len(ids), device=decoder.device)
    if request.prompt.values is not None:
        values = torch.from_numpy(request.prompt.values).to(decoder.device)
    index = torch.tensor([request.index], device=decoder.device)
    log_prob = log_mass = 0.0
    reason = ""
    state = grammar.begin(1, decoder.device)
    for at in range(len(ids)):
        state = grammar.advance(state, ids[at : at + 1], values[at : at + 1])
    while not grammar.finished(state):
        allowed = grammar.allowed(state)
        if not allowed.any() or len(ids) >= max_tokens:
            reason = f"nothing may follow the {len(ids)} tokens written, of {max_tokens} at most"
            break
        raw = decoder.logits().double().log_softmax(1)
        cumulated = raw.exp().masked_fill(~allowed, 0).cumsum(1)
        log_mass += float(cumulated[0, -1].log())
        uniform = streams.uniform(index, len(ids))
        token = (cumulated <= uniform * cumulated[:, -1:]).sum(1)
        log_prob += float(raw[0, token])
        value = torch.zeros(1, device=decoder.device)
        bounds = grammar.bounds(state)
        if int(token) in decoder.continuous and bounds is not None:
            distribution = decoder.value_distribution(token)
            value = distribution.sample(
                streams.uniform(index, len(ids), salt=1),
                streams.uniform(index, len(ids), salt=2),
                *bounds,
            )
            log_prob += float(distribution.log_prob(value))
            log_mass += float(distribution.log_prob(value) - distribution.log_prob(value, *bounds))
        decoder.append(token[:, None], value[:, None])
        state = grammar.advance(state, token, value)
        ids, values = torch.cat([ids, token]), torch.cat([values, value])
    tokens = Tokens(
        ids.cpu().numpy(),
        values.cpu().numpy().astype(np.float32) if decoder.continuous else None,
    )
    return Draft(request.index, tokens, log_prob, log_mass, finished=not reason, reason=reason)
