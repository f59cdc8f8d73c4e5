"""A tokenised dataset on disk: memory-mapped, fingerprinted, read without pymatgen or spglib.

A store is a folder::

    index.json        what it was made from, counts, what was dropped
    ids.npy           token ids of all sequences, one after another
    values.npy        their values (representations with continuous tokens only)
    offsets.npy       (n + 1,) where each sequence begins
    feature_<i>.npy   (n, size) float32 features of condition i, NaN where unknown
    lattice.npy frac.npy numbers.npy oxidation.npy sites.npy
                      the canonical crystals: stochastic orderings encode from them each epoch,
                      and novelty is measured against them
    names.txt         record ids, one per line
    dropped.jsonl     id and reason of every record left out

Axes: n sequences, T tokens of a selection, R rows of a selection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgen.atomic import read_json
from matgen.data.batch import Gathered
from matgen.errors import BadFile, NewerFormat
from matgen.records import Crystal, Tokens

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.condition import Condition
    from matgen.roles.ordering import Ordering
    from matgen.roles.representation import Representation

FORMAT = 1
"""Version of the folder's layout."""

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
        if not isinstance(written, int) or not index.keys() >= _INDEX_KEYS:
            raise BadFile(
                f"{path / 'index.json'} is no index of a token store; delete the folder, it will "
                "be built again"
            )
        return cls(
            path,
            index,
            catalog.restore(index["representation"]),  # type: ignore[arg-type]  # the role says so
            catalog.restore(index["ordering"]),  # type: ignore[arg-type]  # the role says so
            tuple(catalog.restore(saved) for saved in index["conditions"]),  # type: ignore[misc]  # the role says so
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def fingerprint(self) -> str:
        """Changes with dataset, representation, ordering, conditions and seed."""
        return str(self.index["fingerprint"])

    @cached_property
    def kind_names(self) -> tuple[str, ...]:
        """Kinds of positions, as the grammar names them."""
        return self.representation.grammar().kind_names

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(n + 1,) first token of each sequence."""
        return np.asarray(self._array("offsets"))

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """(n,) tokens per sequence, start and end included; the same for every permutation."""
        return np.diff(self.offsets).astype(np.int32)

    @property
    def n_tokens(self) -> int:
        """Tokens of all sequences."""
        return int(self.offsets[-1])

    def features(self, label: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (R, size) features of a condition, NaN where unknown."""
        labels = [condition.label for condition in self.conditions]
        rows: NDArray[np.float32] = self._features[labels.index(label)][indices]
        return rows

    def gather(self, indices: NDArray[np.int64], *, epoch: int) -> Gathered:
        """Return the chosen sequences one after another.

        Args:
            indices: (R,) which sequences.
            epoch: Selects the permutation of a stochastic ordering, else without effect.
        """
        if self.ordering.stochastic:
            return self._encode(indices, epoch)
        starts, lengths = self.offsets[indices], self.lengths[indices].astype(np.int64)
        first = np.cumsum(lengths) - lengths
        where = np.repeat(starts - first, lengths) + np.arange(lengths.sum())
        ids = self._ids[where].astype(np.int64)
        values = None if self._values is None else np.asarray(self._values[where])
        kinds = [
            self.representation.position_kinds(
                Tokens(ids[f : f + n], None if values is None else values[f : f + n])
            )
            for f, n in zip(first, lengths, strict=True)
        ]
        return Gathered(ids, values, np.concatenate(kinds))

    def crystal(self, index: int) -> Crystal:
        """Return the canonical crystal of a sequence."""
        first, last = int(self._sites[index]), int(self._sites[index + 1])
        return Crystal(
            np.array(self._crystals["lattice"][index], dtype=np.float64),
            np.array(self._crystals["frac"][first:last], dtype=np.float64),
            np.array(self._crystals["numbers"][first:last], dtype=np.int64),
            np.array(self._crystals["oxidation"][first:last], dtype=np.int64),
        )

    def crystals(self) -> Iterator[Crystal]:
        """Yield every canonical crystal."""
        for index in range(len(self)):
            yield self.crystal(index)

    def stream(self, index: int, epoch: int) -> np.random.Generator:
        """Return the random stream of one crystal in one epoch."""
        return np.random.default_rng([int(self.index["seed"]), epoch, index])

    def _encode(self, indices: NDArray[np.int64], epoch: int) -> Gathered:
        sequences = [
            self.representation.encode(
                self.crystal(int(i)), self.ordering, self.stream(int(i), epoch)
            )
            for i in indices
        ]
        values = [s.values for s in sequences if s.values is not None]
        return Gathered(
            np.concatenate([s.ids for s in sequences]),
            np.concatenate(values) if values else None,
            np.concatenate([self.representation.position_kinds(s) for s in sequences]),
        )

    @cached_property
    def _ids(self) -> NDArray[np.integer[Any]]:
        return self._array("ids")

    @cached_property
    def _values(self) -> NDArray[np.float32] | None:
        return self._array("values") if (self.path / "values.npy").exists() else None

    @cached_property
    def _features(self) -> list[NDArray[np.float32]]:
        return [self._array(f"feature_{i}") for i in range(len(self.conditions))]

    @cached_property
    def _crystals(self) -> dict[str, NDArray[Any]]:
        return {name: self._array(name) for name in ("lattice", "frac", "numbers", "oxidation")}

    @cached_property
    def _sites(self) -> NDArray[np.int64]:
        return np.asarray(self._array("sites"))

    def _array(self, name: str) -> NDArray[Any]:  # dtype as saved
        try:
            array: NDArray[Any] = np.load(
                self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False
            )
        except (OSError, ValueError, EOFError) as error:
            raise BadFile(
                f"token store {self.path} is damaged ({name}.npy: {error}); delete the folder, "
                "it will be built again"
            ) from None
        return array
