"""A tiny representation, conditions and model for tests of networks and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from matgen.data.batch import Batch, Gathered
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.language_model import Dense, Packed
from matgen.records import Crystal, Tokens
from matgen.roles.condition import Condition, ScalarCondition
from matgen.roles.ordering import Ordering
from matgen.roles.representation import Grammar, Representation, Vocabulary
from matgen_materium.llama import Llama

START, END, LENGTH = 0, 1, 2
KIND_NAMES = ("frame", "word", "length")


class Words(Representation):
    """<start> words <length>? <end>; never encodes a crystal."""

    name = "words"
    n_words: int = 12
    continuous: bool = True

    def vocabulary(self) -> Vocabulary:
        words = [f"w{i}" for i in range(self.n_words)]
        return Vocabulary(
            names=("<start>", "<end>", "<length>", *words),
            kinds=("frame", "frame", "length", *("word",) * self.n_words),
            start=START,
            end=END,
            continuous=(LENGTH,) if self.continuous else (),
        )

    @property
    def max_tokens(self) -> int:
        return 16

    def grammar(self) -> Grammar:
        raise AssertionError

    def items(self, crystal: Crystal) -> Crystal:
        raise AssertionError

    def encode(self, crystal: Crystal, ordering: Ordering, rng: np.random.Generator) -> Tokens:
        raise AssertionError

    def decode(self, tokens: Tokens) -> Crystal:
        raise AssertionError

    def position_kinds(self, tokens: Tokens) -> NDArray[np.int64]:
        return kinds_of(tokens.ids)


def kinds_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(ids < LENGTH, 0, np.where(ids == LENGTH, 2, 1)).astype(np.int64)


class AsWritten(Ordering):
    name = "as_written"

    def permutation(self, items: Crystal, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.arange(items.n_sites)


class Weight(ScalarCondition):
    name = "weight"
    unit = "kg"
    minimum = 0.0


class Pair(Condition):
    """Two numbers through a layer of its own."""

    name = "pair"
    unit = "1"
    column = "pair"

    def parse(self, text: str) -> str:
        return text

    @property
    def feature_size(self) -> int:
        return 2

    def feature(self, value: Any) -> tuple[float, float]:
        first, second = str(value).split(",")
        return float(first), float(second)

    def encoder(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(2, width), nn.Tanh())


def small_spec(
    *,
    continuous: bool = True,
    conditions: tuple[Condition, ...] = (Weight(), Pair()),
    **backbone: Any,
) -> ModelSpec:
    sizes = {"layers": 2, "heads": 2, "width": 16, "ffn_width": 24, "dropout": 0.0, **backbone}
    return ModelSpec(
        Words(continuous=continuous), AsWritten(), Llama.model_validate(sizes), conditions
    )


def small_model(seed: int = 0, **changes: Any) -> CrystalModel:
    """Return a model whose weights are all random and large enough to matter."""
    model = CrystalModel(small_spec(**changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model


class Sentences:
    """A store of random sentences of 4 to 9 tokens, with both conditions."""

    kind_names = KIND_NAMES

    def __init__(
        self, n: int, seed: int = 0, *, continuous: bool = True, n_words: int = 12
    ) -> None:
        rng = np.random.default_rng(seed)
        self.fingerprint = f"sentences-{n}-{seed}"
        self.ids, self.values = [], []
        for _ in range(n):
            words = LENGTH + 1 + rng.integers(n_words, size=rng.integers(2, 7))
            tail = [LENGTH, END] if continuous else [END]
            ids = np.array([START, *words, *tail], dtype=np.int64)
            values = np.full(len(ids), np.nan, dtype=np.float32)
            values[ids == LENGTH] = rng.uniform(2.0, 9.0)
            self.ids.append(ids)
            self.values.append(values)
        self.lengths = np.array([len(ids) for ids in self.ids], dtype=np.int32)
        weight = rng.normal(size=(n, 1)).astype(np.float32)
        weight[::5] = np.nan
        pair = rng.normal(size=(n, 2)).astype(np.float32)
        pair[1::7, 1] = np.nan
        self._features: Mapping[str, NDArray[np.float32]] = {"weight": weight, "pair": pair}
        self._continuous = continuous

    def __len__(self) -> int:
        return len(self.ids)

    def gather(self, indices: NDArray[np.int64], *, epoch: int) -> Gathered:
        ids = np.concatenate([self.ids[i] for i in indices])
        values = np.concatenate([self.values[i] for i in indices]) if self._continuous else None
        return Gathered(ids, values, kinds_of(ids))

    def features(self, label: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._features[label][indices]


def batch_of(
    model: CrystalModel, store: Sentences, rows: list[int], status: torch.Tensor, *, packed: bool
) -> Batch:
    """Return these rows as one batch; ``status`` is (R, K)."""
    indices = np.array(rows, dtype=np.int64)
    gathered = store.gather(indices, epoch=0)
    lengths = store.lengths[indices].astype(np.int64) + model.n_slots
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    if packed:
        layout: Dense | Packed = Packed(torch.from_numpy(offsets), int(lengths.max()))
    else:
        assert len(set(lengths)) == 1
        layout = Dense(len(rows), int(lengths[0]))
    return Batch(
        ids_T=torch.from_numpy(gathered.ids),
        values_T=None if gathered.values is None else torch.from_numpy(gathered.values),
        kinds_T=torch.from_numpy(gathered.kinds),
        layout=layout,
        features=[
            torch.from_numpy(store.features(condition.label, indices))
            for condition in model.spec.slotted
        ],
        status_RK=status,
    )
