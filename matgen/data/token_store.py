"""A tokenised dataset on disk: memory-mapped, fingerprinted, read without pymatgen or spglib.

A store is a folder::

    index.json        what it was made from, counts, what was dropped
    ids.npy           token ids of all sequences, one after another, two bytes each
    values.npy        their values (representations with continuous tokens only)
    lengths.npy       (n,) tokens per sequence
    feature_<i>_*.npy features of condition i; see ``matgen.data.features``
    names.jsonl       record ids, a JSON text per line
    dropped.jsonl     id and reason of every record left out

The tokens are the canonical crystals, on the grid: what draws a new order or origin each epoch
decodes them, and writes them again.

Axes: n sequences, T tokens of a selection, R rows of a selection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from matgen.atomic import read_json
from matgen.data.batch import Gathered
from matgen.data.features import WIDE, Features, sparse_rows
from matgen.errors import BadFile, CrystalError, NewerFormat
from matgen.records import Crystal, Tokens

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.condition import Condition
    from matgen.roles.ordering import Ordering
    from matgen.roles.representation import Representation

FORMAT = 2
"""Version of the folder's layout."""

_BATCH = 4096
"""Crystals decoded at a time."""
T = TypeVar("T")

_INDEX_KEYS = {"fingerprint", "representation", "ordering", "conditions", "seed"}


@dataclass(frozen=True, eq=False)
class TokenStore:
    """An opened store; arrays are memory-mapped and read-only.

    Attributes:
        index: What index.json says.
        conditions: Fitted conditions, in the order of their features.
    """

    path: Path
    index: dict[str, Any]  # JSON values
    representation: Representation
    ordering: Ordering
    conditions: tuple[Condition, ...]

    @classmethod
    def open(cls, path: Path, catalog: Catalog) -> TokenStore:
        """Open a finished store.

        Raises:
            BadFile: no store, or an unfinished one.
            NewerFormat: written by a newer matgen.
        """
        if not (path / "index.json").exists():
            raise BadFile(
                f"{path} is no token store (no index.json); make one: matgen data prepare"
            )
        index: dict[str, Any] = read_json(path / "index.json")
        written = index.get("format")
        if isinstance(written, int) and written > FORMAT:
            raise NewerFormat(
                f"{path} was written by a newer matgen (format {written}; this installation reads "
                f"up to {FORMAT}): pip install --upgrade matgen"
            )
        if isinstance(written, int) and written < FORMAT:
            raise BadFile(
                f"{path} was prepared by an older matgen (format {written}, now {FORMAT}); delete "
                "the folder and prepare the data again"
            )
        if not isinstance(written, int) or not index.keys() >= _INDEX_KEYS:
            raise BadFile(
                f"{path / 'index.json'} is no index of a token store; delete the folder, it will "
                "be built again"
            )
        try:
            int(index["seed"])
            saved = [index["representation"], index["ordering"], *index["conditions"]]
            representation, ordering, *conditions = [catalog.restore(one) for one in saved]
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadFile(
                f"{path / 'index.json'} is damaged ({error!r}); delete the folder, it will be "
                "built again"
            ) from None
        return cls(
            path,
            index,
            representation,  # type: ignore[arg-type]  # the role says so
            ordering,  # type: ignore[arg-type]  # the role says so
            tuple(conditions),  # type: ignore[arg-type]  # the role says so
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def fingerprint(self) -> str:
        """Changes with dataset, representation, ordering, conditions and seed."""
        return str(self.index["fingerprint"])

    @cached_property
    def kind_names(self) -> tuple[str, ...]:
        """Kinds of positions, as the grammar names them."""
        return self.representation.grammar().kind_names

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """(n,) tokens per sequence, start and end included; the same for every permutation."""
        lengths = np.asarray(self._array("lengths"))
        if not np.issubdtype(lengths.dtype, np.integer) or (lengths < 1).any():
            raise self._damaged("lengths.npy: no lengths of sequences")
        lengths = lengths.astype(np.int32)
        n_tokens = int(lengths.sum(dtype=np.int64))
        if len(self._ids) != n_tokens:
            raise self._damaged(f"ids.npy: {len(self._ids)} tokens, lengths add up to {n_tokens}")
        return lengths

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(n + 1,) first token of each sequence."""
        return _ends(self.lengths)

    @property
    def n_tokens(self) -> int:
        """Tokens of all sequences."""
        return int(self.offsets[-1])

    def features(self, label: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (R, size) features of a condition, NaN where unknown."""
        i = [condition.label for condition in self.conditions].index(label)
        features = self._features[i]
        if features.dense is not None:
            rows: NDArray[np.float32] = features.dense[indices]
            return rows
        size = self.conditions[i].feature_size
        return sparse_rows(features, self._feature_ends[i], indices, size)

    def gather(self, indices: NDArray[np.int64], *, epoch: int) -> Gathered:
        """Return the chosen sequences one after another.

        Args:
            indices: (R,) which sequences.
            epoch: Selects what a stochastic ordering or representation draws, else without effect.
        """
        sequences = self._written(indices)
        if self.ordering.stochastic or self.representation.stochastic:
            sequences = self._drawn(sequences, indices, epoch)
        values = [tokens.values for tokens in sequences if tokens.values is not None]
        return Gathered(
            np.concatenate([tokens.ids for tokens in sequences]),
            np.concatenate(values) if values else None,
            self.representation.position_kinds_batch(sequences),
        )

    def crystal(self, index: int) -> Crystal:
        """Return the canonical crystal of a sequence, on the grid of the representation."""
        [tokens] = self._written(np.array([index]))
        return self.representation.decode(tokens)

    def crystals(self) -> Iterator[Crystal]:
        """Yield every canonical crystal, on the grid of the representation."""
        for first in range(0, len(self), _BATCH):
            sequences = self._written(np.arange(first, min(first + _BATCH, len(self))))
            yield from self._decoded(sequences)

    def stream(self, index: int, epoch: int) -> np.random.Generator:
        """Return the random stream of one crystal in one epoch."""
        return np.random.default_rng([int(self.index["seed"]), epoch, index])

    def _written(self, indices: NDArray[np.int64]) -> list[Tokens]:
        """Return sequences as the store holds them."""
        lengths = self.lengths[indices].astype(np.int64)
        first = np.cumsum(lengths) - lengths
        where = np.repeat(self.offsets[indices] - first, lengths) + np.arange(lengths.sum())
        ids = self._ids[where].astype(np.int64)
        values = None if self._values is None else np.asarray(self._values[where])
        return [
            Tokens(ids[f : f + n], None if values is None else values[f : f + n])
            for f, n in zip(first.tolist(), lengths.tolist(), strict=True)
        ]

    def _drawn(
        self, sequences: list[Tokens], indices: NDArray[np.int64], epoch: int
    ) -> list[Tokens]:
        """Return the same crystals as this epoch writes them."""
        streams = [self.stream(index, epoch) for index in indices.tolist()]
        crystals = [
            self.representation.redescribed(crystal, rng)
            for crystal, rng in zip(self._decoded(sequences), streams, strict=True)
        ]
        drawn = self.representation.encode_batch(crystals, self.ordering, streams)
        return [self._whole(tokens) for tokens in drawn]

    def _decoded(self, sequences: list[Tokens]) -> list[Crystal]:
        return [self._whole(crystal) for crystal in self.representation.decode_batch(sequences)]

    def _whole(self, outcome: T | CrystalError) -> T:
        if isinstance(outcome, CrystalError):
            raise self._damaged(str(outcome))
        return outcome

    @cached_property
    def _ids(self) -> NDArray[np.integer[Any]]:
        return self._array("ids")

    @cached_property
    def _values(self) -> NDArray[np.float32] | None:
        return self._array("values") if (self.path / "values.npy").exists() else None

    @cached_property
    def _features(self) -> list[Features]:
        return [self._features_of(i, c.feature_size) for i, c in enumerate(self.conditions)]

    def _features_of(self, i: int, size: int) -> Features:
        """Return the features of a condition, its arrays as they must be."""
        n = len(self)
        if size <= WIDE:
            dense = self._array(f"feature_{i}_dense")
            if dense.shape != (n, size):
                raise self._damaged(f"feature_{i}_dense.npy: shape {dense.shape}, not {(n, size)}")
            return Features(dense=dense)
        features = Features(
            counts=self._array(f"feature_{i}_counts"),
            columns=self._array(f"feature_{i}_columns"),
            values=self._array(f"feature_{i}_values"),
        )
        assert features.counts is not None
        assert features.columns is not None
        assert features.values is not None
        n_entries = int(np.maximum(features.counts, 0).sum(dtype=np.int64))
        shapes = features.counts.shape, features.columns.shape, features.values.shape
        if shapes != ((n,), (n_entries,), (n_entries,)) or (features.columns >= size).any():
            raise self._damaged(f"feature_{i}: {shapes} do not fit {n} rows of {size}")
        return features

    @cached_property
    def _feature_ends(self) -> list[NDArray[np.int64]]:
        """Per condition (n + 1,) where the entries of each row begin; empty if it is dense."""
        return [
            _ends(np.maximum([] if features.counts is None else features.counts, 0))
            for features in self._features
        ]

    def _array(self, name: str) -> NDArray[Any]:  # dtype as saved
        try:
            array: NDArray[Any] = np.load(
                self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False
            )
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(f"{name}.npy: {error}") from None
        return array

    def _damaged(self, what: str) -> BadFile:
        return BadFile(
            f"token store {self.path} is damaged ({what}); delete the folder, it will be built "
            "again"
        )


def _ends(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
