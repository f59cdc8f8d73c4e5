"""A fixed number of rows that are decoded together; finished ones make place for waiting requests.

Axes: B rows, R rows taken or refilled, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from matgen import Draft, Tokens
from matgen.errors import BadOptions
from matgen.generation.grammar import choose_rows, put_rows, take_rows
from matgen_samplers.shaping import pick, probabilities

if TYPE_CHECKING:
    from matgen import Grammar
    from matgen.generation.decoder import Decoder, Request
    from matgen.generation.streams import Streams
    from matgen.roles.representation import GrammarState
    from matgen_samplers.ancestral import Ancestral

Rows: TypeAlias = "dict[str, Tensor]"
"""Named tensors with rows first, as a grammar state."""

_STEPS_BETWEEN_LOOKS: Final = 8
"""Steps between two looks at what has finished: each look waits for the device. A row that ends in
between idles for three and a half steps on average, of the fifty that a crystal takes."""
_REFILL_FRACTION: Final = 1 / 16
"""Part of the rows that must have finished before they are refilled: prompts are read together."""

_FINISHED, _STUCK, _FULL, _BAD_PROMPT = range(4)
_REASONS: Final = (
    "",
    "no token was allowed: the constraints cannot be met from here",
    "the token limit of {max_tokens} was reached",
    "the grammar does not allow the prompt",
)
_COMPONENT_SALT, _VALUE_SALT, _SALTS = 1, 2, 4
"""Tell the two random numbers for a value from the one for its token, and attempts apart."""


@dataclass(frozen=True)
class _Attempt:
    """A request that starts in a row, for the ``number``-th time after the first."""

    request: Request
    place: int
    number: int


class Batch:
    """The rows of one call of ``Ancestral.draw``."""

    def __init__(
        self,
        settings: Ancestral,
        *,
        temperatures: Sequence[float],
        decoder: Decoder,
        grammar: Grammar,
        max_tokens: int,
        streams: Streams,
    ) -> None:
        self._settings = settings
        self._decoder = decoder
        self._grammar = grammar
        self._max_tokens = max_tokens
        self._streams = streams
        self._device = decoder.device
        self._continuous = torch.tensor(decoder.continuous, dtype=torch.int64, device=self._device)
        self._temperatures = torch.tensor(temperatures, dtype=torch.float64, device=self._device)
        self._kind_names = grammar.kind_names
        self._steps = 1 if self._device == "cpu" else _STEPS_BETWEEN_LOOKS
        self._rows: Rows = {}
        self._state: GrammarState = {}

    @torch.inference_mode()
    def run(self, requests: Sequence[Request]) -> Iterator[Draft]:
        """Yield one draft per request, in the order in which they finish."""
        started = min(self._settings.batch_size, len(requests))
        if not started:
            return
        first = _first_attempts(requests, range(started))
        self._rows, self._state = self._fresh(first)
        self._decoder.begin([attempt.request for attempt in first])
        while self._decoder.rows:
            for _ in range(self._steps):
                self._step()
            n_waiting = len(requests) - started
            done = self._rows["done"].nonzero().squeeze(1)
            active = self._decoder.rows - len(done)
            enough = max(1, int(self._decoder.rows * _REFILL_FRACTION))
            # With nobody waiting, rows are dropped once half of them idle.
            if active and len(done) < (enough if n_waiting else self._decoder.rows / 2):
                continue
            ended = take_rows(self._rows, done)
            again = (ended["reason"] == _STUCK) & (ended["attempt"] < self._settings.retries)
            yield from self._drafts(take_rows(ended, ~again))
            repeated = _next_attempts(requests, take_rows(ended, again))
            n_new = min(n_waiting, len(done) - len(repeated))
            begun = _first_attempts(requests, range(started, started + n_new))
            self._refill(done, [*repeated, *begun])
            started += n_new

    def _refill(self, done: Tensor, attempts: Sequence[_Attempt]) -> None:
        """Start attempts in the first of the rows that are done and drop the others."""
        n_new = len(attempts)
        if attempts:
            rows, state = self._fresh(attempts)
            self._rows = put_rows(self._rows, done[:n_new], rows)
            self._state = put_rows(self._state, done[:n_new], state)
            self._decoder.replace(done[:n_new], [attempt.request for attempt in attempts])
        if n_new < len(done):
            keep = torch.ones(self._decoder.rows, dtype=torch.bool, device=self._device)
            keep[done[n_new:]] = False
            kept = keep.nonzero().squeeze(1)
            self._rows = take_rows(self._rows, kept)
            self._state = take_rows(self._state, kept)
            self._decoder.take(kept)

    def _step(self) -> None:
        """Draw one token in every row that is not done."""
        rows, state, grammar = self._rows, self._state, self._grammar
        mask = grammar.allowed(state)
        stuck = ~rows["done"] & ~mask.any(1)
        full = ~rows["done"] & ~stuck & (rows["lengths"] >= self._max_tokens)
        reason = rows["reason"].masked_fill(stuck, _STUCK).masked_fill(full, _FULL)
        active = ~(rows["done"] | stuck | full)
        logits = self._decoder.logits()
        kinds = grammar.kinds(state)
        chances = probabilities(
            logits,
            mask | ~active[:, None],
            temperature=self._temperatures[kinds],
            top_k=self._settings.top_k,
            top_p=self._settings.top_p,
            min_p=self._settings.min_p,
        )
        ids = pick(chances, self._uniform(0))
        raw = logits.double().log_softmax(1)
        log_prob = raw.gather(1, ids[:, None]).squeeze(1)
        log_mass = raw.masked_fill(~mask, -torch.inf).logsumexp(1)
        values = torch.zeros(ids.shape, dtype=torch.float32, device=self._device)
        if len(self._continuous):
            values, value_log_prob, value_log_mass = self._draw_values(ids)
            log_prob, log_mass = log_prob + value_log_prob, log_mass + value_log_mass
        self._decoder.append(ids[:, None], values[:, None], active.long())
        self._state = choose_rows(active, grammar.advance(state, ids, values), state)
        # Rows that are done write into the spare column past the longest row.
        at = rows["lengths"].masked_fill(~active, self._max_tokens)[:, None]
        self._rows = {
            "index": rows["index"],
            "place": rows["place"],
            "attempt": rows["attempt"],
            "ids": rows["ids"].scatter(1, at, ids[:, None]),
            "values": rows["values"].scatter(1, at, values[:, None]),
            "lengths": rows["lengths"] + active,
            "log_prob": rows["log_prob"].scatter_add(
                1, kinds[:, None], torch.where(active, log_prob, 0.0)[:, None]
            ),
            "log_mass": torch.where(active, rows["log_mass"] + log_mass, rows["log_mass"]),
            "reason": reason,
            "done": ~active | grammar.finished(self._state),
        }

    def _uniform(self, salt: int) -> Tensor:
        """Return (B,) random numbers of the next token; each attempt has its own."""
        rows = self._rows
        salts = salt + _SALTS * rows["attempt"]
        return self._streams.uniform(rows["index"], rows["lengths"], salt=salts)

    def _draw_values(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B,) values of the tokens drawn, their log density, and the log mass in bounds.

        All are 0 where the token carries no value.
        """
        carries = torch.isin(ids, self._continuous)
        interval = self._grammar.bounds(self._state)
        if interval is None:
            infinite = torch.full(ids.shape, torch.inf, device=self._device)
            interval = -infinite, infinite
        low, high = interval
        distribution = self._decoder.value_distribution(ids)
        values = distribution.sample(
            self._uniform(_COMPONENT_SALT), self._uniform(_VALUE_SALT), low, high
        )
        raw = distribution.log_prob(values)
        mass = raw - distribution.log_prob(values, low, high)
        return (
            torch.where(carries, values, 0.0),
            torch.where(carries, raw, 0.0).double(),
            torch.where(carries, mass, 0.0).double(),
        )

    def _fresh(self, attempts: Sequence[_Attempt]) -> tuple[Rows, GrammarState]:
        """Return rows that hold the prompts, and the grammar's state after them."""
        requests = [attempt.request for attempt in attempts]
        lengths = np.array([len(request.prompt) for request in requests], dtype=np.int64)
        longest = int(lengths.max())
        if longest > self._max_tokens:
            raise BadOptions(
                f"a prompt of {longest} tokens does not fit into {self._max_tokens} tokens"
            )
        # One spare column, for rows that are done.
        ids = np.zeros((len(requests), self._max_tokens + 1), dtype=np.int64)
        values = np.zeros(ids.shape, dtype=np.float32)
        for row, request in enumerate(requests):
            ids[row, : lengths[row]] = request.prompt.ids
            if request.prompt.values is not None:
                values[row, : lengths[row]] = request.prompt.values
        index, place, attempt = torch.tensor(
            [(a.request.index, a.place, a.number) for a in attempts],
            dtype=torch.int64,
            device=self._device,
        ).unbind(1)
        per_kind = (len(requests), len(self._kind_names))
        rows = {
            "index": index,
            "place": place,
            "attempt": attempt,
            "ids": torch.from_numpy(ids).to(self._device),
            "values": torch.from_numpy(values).to(self._device),
            "lengths": torch.from_numpy(lengths).to(self._device),
            "log_prob": torch.zeros(per_kind, dtype=torch.float64, device=self._device),
            "log_mass": torch.zeros(len(requests), dtype=torch.float64, device=self._device),
            "reason": torch.zeros_like(index),
        }
        state = self._grammar.begin(len(requests), self._device)
        good = torch.ones_like(index, dtype=torch.bool)
        for at in range(longest):
            there, token = rows["lengths"] > at, rows["ids"][:, at]
            permitted = self._grammar.allowed(state).gather(1, token[:, None]).squeeze(1)
            good = good & (permitted | ~there)
            advanced = self._grammar.advance(state, token, rows["values"][:, at])
            state = choose_rows(there & good, advanced, state)
        rows["reason"] = rows["reason"].masked_fill(~good, _BAD_PROMPT)
        rows["done"] = ~good | self._grammar.finished(state)
        return rows, state

    def _drafts(self, rows: Rows) -> Iterator[Draft]:
        """Yield the drafts of rows that are done, copied to the host together."""
        host = {name: part.cpu().numpy() for name, part in rows.items()}
        with_values = len(self._continuous) > 0
        for row, length in enumerate(host["lengths"]):
            reason = int(host["reason"][row])
            yield Draft(
                index=int(host["index"][row]),
                tokens=Tokens(
                    host["ids"][row, :length].copy(),
                    host["values"][row, :length].copy() if with_values else None,
                ),
                log_prob=float(host["log_prob"][row].sum()),
                log_mass=float(host["log_mass"][row]),
                finished=reason == _FINISHED,
                reason=_REASONS[reason].format(max_tokens=self._max_tokens),
                attempts=int(host["attempt"][row]) + 1,
                log_prob_of_kind=dict(
                    zip(self._kind_names, host["log_prob"][row].tolist(), strict=True)
                ),
            )


def _first_attempts(requests: Sequence[Request], places: Iterable[int]) -> list[_Attempt]:
    return [_Attempt(requests[place], place, 0) for place in places]


def _next_attempts(requests: Sequence[Request], stuck: Rows) -> list[_Attempt]:
    """Return the next attempt of rows in which no token was left."""
    places, numbers = stuck["place"].tolist(), stuck["attempt"].tolist()
    return [
        _Attempt(requests[place], place, number + 1)
        for place, number in zip(places, numbers, strict=True)
    ]
