"""What a token store is made from; two plans alike make the same store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from matgen.data.token_store import FORMAT

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.roles.condition import Condition
    from matgen.roles.dataset import DatasetSource, Split
    from matgen.roles.ordering import Ordering
    from matgen.roles.representation import Representation


@dataclass(frozen=True)
class PreparePlan:
    """What to prepare.

    Attributes:
        conditions: Whose features to compute. Those of ``train`` are fitted to it; other splits
            take them as they are, that is, as fitted to ``train``.
        seed: Selects the permutations of a random ordering.
        optional: Labels of conditions whose column the dataset may lack, all their values being
            unknown then; the store is the same whether it is said or not.
    """

    dataset: DatasetSource
    split: Split
    representation: Representation
    ordering: Ordering
    conditions: tuple[Condition, ...]
    seed: int = 0
    optional: frozenset[str] = frozenset()

    @cached_property
    def id_dtype(self) -> np.dtype[Any]:
        """Of token ids on disk: two bytes as long as the vocabulary allows."""
        fits = len(self.representation.vocabulary()) <= np.iinfo(np.uint16).max
        return np.dtype(np.uint16 if fits else np.int32)

    def fingerprint(self, catalog: Catalog) -> str:
        """Return 16 hex digits that change with anything the store depends on."""
        made_from = {
            "format": FORMAT,
            "dataset": catalog.dump(self.dataset),
            "records": self.dataset.fingerprint(),
            "split": self.split,
            "representation": catalog.dump(self.representation),
            "ordering": catalog.dump(self.ordering),
            "conditions": [catalog.dump(condition) for condition in self.conditions],
            "seed": self.seed,
        }
        text = json.dumps(made_from, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
