"""Samples from a generator: numbered, each with random numbers of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from matgen.errors import CrystalError
from matgen.records import Sample
from matgen.roles.generator import GeneratorSession


def generated(session: GeneratorSession, n: int, *, seed: int) -> Iterator[Sample]:
    """Yield ``n`` samples; sample i depends on (seed, i) alone.

    A draw that gives no crystal is a sample with the reason in ``error``.
    """
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        try:
            yield Sample(index, session.draw(rng))
        except CrystalError as error:
            yield Sample(index, None, error=str(error))
