"""Random numbers by (seed, index, draw)."""

from __future__ import annotations

import numpy as np
import torch

from matgen.generation.streams import Streams

INDICES = torch.arange(20_000)


def test_a_number_depends_on_seed_index_draw_and_salt_alone() -> None:
    here = Streams(3).uniform(INDICES, 7, salt=1)
    assert torch.equal(here[500:600], Streams(3).uniform(INDICES[500:600], 7, salt=1))
    for other in (
        Streams(4).uniform(INDICES, 7, salt=1),
        Streams(3).uniform(INDICES, 8, salt=1),
        Streams(3).uniform(INDICES, 7, salt=2),
    ):
        assert (here == other).sum() == 0


def test_one_draw_number_is_the_same_as_a_tensor_of_it() -> None:
    draws = torch.full_like(INDICES, 5)
    assert torch.equal(Streams(0).uniform(INDICES, 5), Streams(0).uniform(INDICES, draws))


def test_numbers_are_uniform_and_strictly_between_zero_and_one() -> None:
    drawn = Streams(1).uniform(INDICES, 0).numpy()
    assert drawn.min() > 0
    assert drawn.max() < 1
    # Kolmogorov–Smirnov at one in a hundred for 20,000 numbers: 1.63 / √n.
    gap = np.abs(np.sort(drawn) - (np.arange(len(drawn)) + 0.5) / len(drawn)).max()
    assert gap < 1.63 / np.sqrt(len(drawn))


def test_neighbouring_streams_do_not_follow_each_other() -> None:
    one = Streams(1).uniform(INDICES, 3).numpy()
    for other in (Streams(1).uniform(INDICES, 4), Streams(1).uniform(INDICES + 1, 3)):
        # Three standard errors of a correlation of 20,000 independent pairs.
        assert abs(np.corrcoef(one, other.numpy())[0, 1]) < 3 / np.sqrt(len(one))
