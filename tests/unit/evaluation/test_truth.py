"""Predictions belong to true crystals by position; nothing may shift them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from matgen.errors import BadCrystal, BadOptions
from matgen.evaluation.truth import Truth
from matgen.records import Crystal, Record, Skipped
from matgen.roles.dataset import DatasetSource, Split


class _Three(DatasetSource):
    """Two crystals, and an entry between them that is none."""

    name = "three"

    broken: bool = True
    """Whether the entry is there."""

    @property
    def units(self) -> Mapping[str, str]:
        return {}

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        crystal = Crystal(3.0 * np.eye(3), np.zeros((1, 3)), np.array([26]))
        if split == "val":
            return
        yield Record("a", crystal)
        if self.broken:
            if on_skip is None:
                raise BadCrystal("entry 2 is no crystal")
            on_skip(Skipped("three", "no crystal"))
        yield Record("b", crystal)

    def fingerprint(self) -> str:
        return "three"


def test_an_unreadable_truth_stops_a_prediction_but_not_a_distribution() -> None:
    with pytest.raises(BadCrystal, match="entry 2"):
        Truth(_Three(), ("train",), "three", predicted=True).records()
    found = Truth(_Three(), ("train",), "three").records()
    assert [record.id for record in found] == ["a", "b"]


def test_an_empty_truth_is_refused() -> None:
    with pytest.raises(BadOptions, match="--truth three holds no crystal"):
        Truth(_Three(), ("val",), "three").records()


@pytest.mark.parametrize(("asked", "given", "each"), [(2, 0, 1), (40, 0, 20), (6, 3, 3)])
def test_samples_are_so_many_for_each(asked: int, given: int, each: int) -> None:
    truth = Truth(_Three(broken=False), ("train",), "three", predicted=True, per_truth=given)
    assert truth.samples_each(truth.records(), asked) == each


@pytest.mark.parametrize(("asked", "given"), [(3, 0), (1, 0), (6, 2)])
def test_samples_that_do_not_divide_are_refused(asked: int, given: int) -> None:
    truth = Truth(_Three(broken=False), ("train",), "three", predicted=True, per_truth=given)
    with pytest.raises(BadOptions, match="--per-truth K"):
        truth.samples_each(truth.records(), asked)


def test_what_is_imitated_has_no_predictions() -> None:
    truth = Truth(_Three(broken=False), ("train",), "three")
    assert truth.samples_each(truth.records(), 7) == 1
