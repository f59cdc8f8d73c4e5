"""Check of generators: ways of making crystals without a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from matgen.errors import CrystalError, MatgenError
from matgen.testing.contract import broken

if TYPE_CHECKING:
    from matgen.records import Crystal, Record
    from matgen.roles.generator import Generator, GeneratorSession


def check_generator(generator: Generator, known: Sequence[Record], *, n: int = 30) -> None:
    """Check a generator.

    A draw depends on its random numbers alone: not on what was drawn before, and differently for
    different ones. Crystals are sound, oxidation states, where given, are one per site and add up
    to 0. A draw without a crystal raises CrystalError, and not every draw does. The known crystals
    are left as they are.

    Args:
        generator: What to check.
        known: What it starts from.
        n: Draws.

    Raises:
        ContractBroken: a law does not hold.
    """
    before = [record.crystal.numbers.copy() for record in known]
    first = _drawn(generator, generator.open(known), range(n))
    again = _drawn(generator, generator.open(known), reversed(range(n)))
    for index in range(n):
        if not _equal(first[index], again[index]):
            raise broken(generator, "a draw depends on its random numbers alone", index)
    found = [crystal for crystal in first.values() if crystal is not None]
    if not found:
        raise broken(generator, "some draws give a crystal")
    if n > 1 and all(_equal(found[0], crystal) for crystal in found[1:]):
        raise broken(generator, "other random numbers give other crystals")
    for crystal in found:
        _check_sound(generator, crystal)
    if any(
        not np.array_equal(numbers, record.crystal.numbers)
        for numbers, record in zip(before, known, strict=True)
    ):
        raise broken(generator, "the known crystals are left as they are")


def _drawn(
    generator: Generator, session: GeneratorSession, indices: Iterable[int]
) -> dict[int, Crystal | None]:
    drawn: dict[int, Crystal | None] = {}
    for index in indices:
        try:
            drawn[index] = session.draw(np.random.default_rng([0, index]))
        except CrystalError:
            drawn[index] = None
        except MatgenError as error:
            raise broken(
                generator, "a draw without a crystal raises CrystalError", repr(error)
            ) from error
    return drawn


def _equal(one: Crystal | None, other: Crystal | None) -> bool:
    if one is None or other is None:
        return one is other
    return (
        np.array_equal(one.numbers, other.numbers)
        and np.array_equal(one.lattice, other.lattice, equal_nan=True)
        and np.array_equal(one.frac, other.frac, equal_nan=True)
    )


def _check_sound(generator: Generator, crystal: Crystal) -> None:
    n = crystal.n_sites
    if n < 1 or crystal.frac.shape != (n, 3) or crystal.lattice.shape != (3, 3):
        raise broken(generator, "a crystal has sites, a lattice and a coordinate per axis")
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac).all()):
        raise broken(generator, "a crystal is finite")
    if crystal.volume <= 0 or crystal.numbers.min() < 1 or crystal.numbers.max() > 118:
        raise broken(generator, "a crystal has a volume and known elements")
    states = crystal.oxidation
    if states is not None and (states.shape != (n,) or states.sum() != 0):
        raise broken(generator, "oxidation states are one per site and add up to 0", states)
