"""Decoders over a trained model: a fast one with a key-value cache, and a slow reference.

Axes: B rows, n new tokens per row, L tokens of a row, K condition slots, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from matgen.errors import BadOptions
from matgen.generation.decoder import Decoder, Request
from matgen.nn.language_model import Dense
from matgen.nn.packed_linear import Bits, Float16Linear, Int8Linear, packed
from matgen.nn.value_head import ValueHead, ValueScale
from matgen.records import Tokens

if TYPE_CHECKING:
    from matgen.nn.crystal_model import CrystalModel
    from matgen.nn.language_model import Cache
    from matgen.nn.value_head import ValueDistribution

Precision: TypeAlias = Literal["float32", "bfloat16", "float16", "int8"]
"""Number format while sampling. On the CPU the last two are formats of the weights of linear layers
alone; everything else stays float32."""


def ready_to_sample(model: CrystalModel, *, device: str, precision: Precision) -> CrystalModel:
    """Return the model in eval mode with its weights on this device and in this precision.

    The model itself where it already is so; else a copy, because the caller may go on training.

    Raises:
        BadOptions: int8 elsewhere than on the CPU, or a build of torch without its kernels.
    """
    target = torch.empty(0, device=device).device
    on_cpu = target.type == "cpu"
    if precision == "int8" and not on_cpu:
        raise BadOptions("--precision int8 is for the CPU; use bf16 on a GPU")
    bits: Bits | None = precision if on_cpu and precision in {"float16", "int8"} else None
    wanted = dtype_of(precision, device)
    if (
        not model.training
        and _packed_bits(model) == bits
        and all(weight.dtype == wanted and weight.device == target for weight in model.parameters())
    ):
        return model
    copied = deepcopy(model).to(device=device, dtype=wanted).eval()
    # The scale of continuous values is data, not a weight: 16 bits would round lattice constants.
    for scale, exact in zip(_value_scales(copied), _value_scales(model), strict=True):
        scale.centre_C, scale.spread_C = exact.centre_C.to(device), exact.spread_C.to(device)
    if bits is not None:
        packed(copied.language_model, bits)
    return copied


def dtype_of(precision: Precision, device: str) -> torch.dtype:
    """Return the number format of activations, cache and unpacked weights."""
    if precision == "bfloat16":
        return torch.bfloat16
    if precision == "float16" and torch.device(device).type != "cpu":
        return torch.float16
    return torch.float32


def _packed_bits(model: CrystalModel) -> Bits | None:
    for module in model.modules():
        if isinstance(module, Int8Linear):
            return "int8"
        if isinstance(module, Float16Linear):
            return "float16"
    return None


def sequence_log_probs(
    model: CrystalModel, requests: Sequence[Request], *, device: str
) -> list[NDArray[np.float64]]:
    """Return the log-probability of every token but the first of whole sequences, one array each.

    Args:
        model: As ``ready_to_sample`` gives it.
        requests: The sequence as prompt, and what is asked for.
        device: Where the model is.
    """
    found = []
    with torch.inference_mode():
        ids, values, lengths = _padded(requests, device)
        h_BnD = _sequence_hidden(model, requests, device)
        continuous = torch.tensor(model.vocabulary.continuous, device=device)
        for row, length in enumerate(lengths.tolist()):
            h_TD, following = h_BnD[row, : length - 1], ids[row, 1:length]
            log_probs = model.language_model.logits(h_TD).double().log_softmax(-1)
            told = log_probs.gather(1, following[:, None]).squeeze(1)
            if len(continuous):
                distribution = _value_distribution(model, h_TD, following)
                density = distribution.log_prob(values[row, 1:length])
                carries = torch.isin(following, continuous)
                told = told + torch.where(carries, density, 0.0).double()
            found.append(told.cpu().numpy())
    return found


def sequence_logits(
    model: CrystalModel, requests: Sequence[Request], *, device: str
) -> list[Tensor]:
    """Return (T - 1, V) float32 logits of every token but the first of whole sequences.

    Arguments as for ``sequence_log_probs``.
    """
    with torch.inference_mode():
        h_BnD = _sequence_hidden(model, requests, device)
        return [
            model.language_model.logits(h_BnD[row, : len(request.prompt) - 1])
            for row, request in enumerate(requests)
        ]


def _sequence_hidden(model: CrystalModel, requests: Sequence[Request], device: str) -> Tensor:
    """Return (B, T, D) hidden states of whole sequences, those of the slots left out."""
    ids, values, lengths = _padded(requests, device)
    x_BnD = torch.cat([_slots(model, requests, device), _embedded(model, ids, values)], 1)
    n_slots = model.n_slots
    cache = model.language_model.new_cache(
        len(requests), x_BnD.shape[1], dtype=x_BnD.dtype, device=device
    )
    return model.language_model.step(x_BnD, n_slots + lengths, cache)[:, n_slots:]


class ModelDecoder(Decoder):
    """The fast decoder: every token passes through the network once.

    Keeps, next to the cache, each row's tokens and its last hidden state. A rewind cuts one
    position further than asked and appends the remembered token again, which gives back the hidden
    state (and so the logits) that the row had there.
    """

    def __init__(
        self,
        model: CrystalModel,
        *,
        max_tokens: int,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        """Bind a model.

        Args:
            model: Copied where device or precision differ.
            max_tokens: Longest row, prompt included.
            device: Where to decode.
            precision: Of weights and cache; logits are float32 anyway.
        """
        self._model = ready_to_sample(model, device=device, precision=precision)
        self._dtype = dtype_of(precision, device)
        self._device = device
        self._max_tokens = max_tokens

    @property
    def rows(self) -> int:
        """B, the number of rows."""
        return int(self._lengths.shape[0])

    @property
    def lengths(self) -> Tensor:
        """(B,) int64 tokens in each row."""
        return self._lengths

    @property
    def device(self) -> str:
        """Where the tensors live."""
        return self._device

    @property
    def continuous(self) -> tuple[int, ...]:
        """Ids of the tokens that carry a value."""
        return self._model.vocabulary.continuous

    @torch.inference_mode()
    def begin(self, requests: Sequence[Request]) -> None:
        """Start afresh with one row per request: slots and prompts in one pass."""
        self._cache, self._ids, self._values, self._lengths, self._h_BD = self._prefilled(requests)

    @torch.inference_mode()
    def replace(self, rows: Tensor, requests: Sequence[Request]) -> None:
        """Start other requests in these rows; only their prompts are computed."""
        cache, ids, values, lengths, h_RD = self._prefilled(requests)
        self._cache.put(rows, cache)
        self._ids = self._ids.index_copy(0, rows, ids)
        self._values = self._values.index_copy(0, rows, values)
        self._lengths = self._lengths.index_copy(0, rows, lengths)
        self._h_BD = self._h_BD.index_copy(0, rows, h_RD)

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """Return (B, V) float32 logits of each row's next token."""
        return self._model.language_model.logits(self._h_BD)

    @torch.inference_mode()
    def value_distribution(self, ids: Tensor) -> ValueDistribution:
        """Return the distribution of each row's next value, were its next token ``ids`` (B,)."""
        return _value_distribution(self._model, self._h_BD, ids)

    @torch.inference_mode()
    def append(
        self, ids: Tensor, values: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add up to n tokens to every row; rows past ``max_tokens`` are the caller's bug."""
        n = ids.shape[1]
        if values is None:
            values = torch.zeros(ids.shape, dtype=torch.float32, device=ids.device)
        if counts is None:
            counts = torch.full_like(self._lengths, n)
        steps = torch.arange(n, device=ids.device)
        at = self._lengths[:, None] + steps
        # Places that take nothing write into the spare column past the longest row.
        at = torch.where(steps < counts[:, None], at, self._max_tokens)
        self._ids = self._ids.scatter(1, at, ids)
        self._values = self._values.scatter(1, at, values)
        self._read(ids, values, counts)
        self._lengths = self._lengths + counts

    @torch.inference_mode()
    def take(self, rows: Tensor) -> None:
        """Keep only these rows, in this order."""
        self._cache = self._cache.take(rows)
        self._ids, self._values = self._ids[rows], self._values[rows]
        self._lengths, self._h_BD = self._lengths[rows], self._h_BD[rows]

    def fork(self, rows: Tensor, n: int) -> None:
        """Become ``n`` copies of each of these rows, copies of one row side by side."""
        self.take(rows.repeat_interleave(n))

    @torch.inference_mode()
    def rewind(self, lengths: Tensor) -> None:
        """Cut each row back to (B,) int64 tokens, one at least; logits are those it had there."""
        kept = lengths.clamp(min=1).minimum(self._lengths)
        cut = kept < self._lengths
        self._cache.rewind(self._model.n_slots + kept - cut.long())
        last = (kept - 1)[:, None]
        self._read(self._ids.gather(1, last), self._values.gather(1, last), cut.long())
        self._lengths = kept

    def _read(self, ids: Tensor, values: Tensor, counts: Tensor) -> None:
        """Pass new tokens through the network; rows that take none keep their hidden state."""
        x_BnD = _embedded(self._model, ids, values)
        h_BnD = self._model.language_model.step(x_BnD, counts, self._cache)
        self._h_BD = torch.where((counts > 0)[:, None], _last(h_BnD, counts), self._h_BD)

    def _prefilled(
        self, requests: Sequence[Request]
    ) -> tuple[Cache, Tensor, Tensor, Tensor, Tensor]:
        """Return cache, ids, values, lengths and last hidden states of fresh rows."""
        ids, values, lengths = _padded(requests, self._device)
        model = self._model
        x_BnD = torch.cat([_slots(model, requests, self._device), _embedded(model, ids, values)], 1)
        cache = model.language_model.new_cache(
            len(requests),
            model.n_slots + self._max_tokens,
            dtype=self._dtype,
            device=self._device,
        )
        counts = model.n_slots + lengths
        h_BD = _last(model.language_model.step(x_BnD, counts, cache), counts)
        spare = self._max_tokens + 1 - ids.shape[1]
        return cache, pad(ids, (0, spare)), pad(values, (0, spare)), lengths, h_BD


class UncachedDecoder(Decoder):
    """The slow reference: every question reads every row from its first position again."""

    def __init__(
        self, model: CrystalModel, *, device: str = "cpu", precision: Precision = "float32"
    ) -> None:
        """Bind a model; arguments as for ``ModelDecoder``."""
        self._model = ready_to_sample(model, device=device, precision=precision)
        self._device = device

    @property
    def rows(self) -> int:
        """B, the number of rows."""
        return len(self._rows)

    @property
    def lengths(self) -> Tensor:
        """(B,) int64 tokens in each row."""
        lengths = [len(row.prompt) for row in self._rows]
        return torch.tensor(lengths, dtype=torch.int64, device=self._device)

    @property
    def device(self) -> str:
        """Where the tensors live."""
        return self._device

    @property
    def continuous(self) -> tuple[int, ...]:
        """Ids of the tokens that carry a value."""
        return self._model.vocabulary.continuous

    def begin(self, requests: Sequence[Request]) -> None:
        """Start afresh with one row per request; a row is a request whose prompt grows."""
        self._rows = list(requests)

    def replace(self, rows: Tensor, requests: Sequence[Request]) -> None:
        """Start other requests in these rows."""
        for row, request in zip(rows.tolist(), requests, strict=True):
            self._rows[row] = request

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """Return (B, V) float32 logits of each row's next token."""
        return self._model.language_model.logits(self._h_BD())

    @torch.inference_mode()
    def value_distribution(self, ids: Tensor) -> ValueDistribution:
        """Return the distribution of each row's next value, were its next token ``ids`` (B,)."""
        return _value_distribution(self._model, self._h_BD(), ids)

    def append(
        self, ids: Tensor, values: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add up to n tokens to every row."""
        if values is None:
            values = torch.zeros(ids.shape, dtype=torch.float32)
        n_new = [ids.shape[1]] * self.rows if counts is None else counts.tolist()
        new_ids, new_values = ids.cpu().numpy(), values.cpu().numpy()
        for row, n in enumerate(n_new):
            old = self._rows[row].prompt
            carried = _values(old)
            self._rows[row] = replace(
                self._rows[row],
                prompt=Tokens(
                    np.concatenate([old.ids, new_ids[row, :n]]),
                    np.concatenate([carried, new_values[row, :n]]),
                ),
            )

    def take(self, rows: Tensor) -> None:
        """Keep only these rows, in this order."""
        self._rows = [self._rows[row] for row in rows.tolist()]

    def fork(self, rows: Tensor, n: int) -> None:
        """Become ``n`` copies of each of these rows, copies of one row side by side."""
        self.take(rows.repeat_interleave(n))

    def rewind(self, lengths: Tensor) -> None:
        """Cut each row back to (B,) int64 tokens, one at least."""
        for row, length in enumerate(lengths.clamp(min=1).tolist()):
            old = self._rows[row].prompt
            cut = Tokens(old.ids[:length], _values(old)[:length])
            self._rows[row] = replace(self._rows[row], prompt=cut)

    def _h_BD(self) -> Tensor:
        """Last hidden state of every row, one row at a time, as a sequence of its own."""
        last = []
        for row in self._rows:
            ids, values, _ = _padded([row], self._device)
            slots = _slots(self._model, [row], self._device)
            x_TD = torch.cat([slots, _embedded(self._model, ids, values)], 1).squeeze(0)
            layout = Dense(rows=1, length=x_TD.shape[0])
            last.append(self._model.language_model.hidden(x_TD, layout)[-1])
        return torch.stack(last)


def _values(tokens: Tokens) -> NDArray[np.float32]:
    return np.zeros(len(tokens), dtype=np.float32) if tokens.values is None else tokens.values


def _padded(requests: Sequence[Request], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B, L) ids and values of the prompts, zeros past their ends, and (B,) lengths."""
    lengths = np.array([len(request.prompt) for request in requests], dtype=np.int64)
    ids = np.zeros((len(requests), int(lengths.max(initial=1))), dtype=np.int64)
    values = np.zeros(ids.shape, dtype=np.float32)
    for row, request in enumerate(requests):
        ids[row, : lengths[row]] = request.prompt.ids
        values[row, : lengths[row]] = _values(request.prompt)
    ids_BL, values_BL, lengths_B = (torch.from_numpy(a).to(device) for a in (ids, values, lengths))
    return ids_BL, values_BL, lengths_B


def _slots(model: CrystalModel, requests: Sequence[Request], device: str) -> Tensor:
    """Return (B, K, D) embeddings of what each request asks for."""
    asked = [request.conditions for request in requests]
    features, status = model.condition_batch(asked, device)
    slots: Tensor = model.conditioner(features, status)
    return slots


def _embedded(model: CrystalModel, ids: Tensor, values: Tensor) -> Tensor:
    """Return (B, n, D) embeddings of tokens."""
    return model.language_model.embed(ids, values if model.vocabulary.continuous else None)


def _value_distribution(model: CrystalModel, h_BD: Tensor, ids: Tensor) -> ValueDistribution:
    head = model.language_model.value_head
    assert isinstance(head, ValueHead), "asked for a value without continuous tokens"
    distribution: ValueDistribution = head(h_BD, ids)
    return distribution


def _value_scales(model: CrystalModel) -> list[ValueScale]:
    return [module for module in model.modules() if isinstance(module, ValueScale)]


def _last(h_BnD: Tensor, counts: Tensor) -> Tensor:
    """Return (B, D) hidden states of each row's last real position; garbage where it has none."""
    at = (counts - 1).clamp(min=0)[:, None, None].expand(-1, 1, h_BnD.shape[2])
    return h_BnD.gather(1, at).squeeze(1)
