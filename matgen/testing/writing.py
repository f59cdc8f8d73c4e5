"""Checks of what turns crystals into sentences: orderings and representations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgen.errors import CrystalError, OutsideRange, Undecodable
from matgen.records import Crystal, Tokens
from matgen.roles.ordering import Ordering
from matgen.testing.contract import broken
from matgen.testing.hostile import crystals as hostile_crystals

if TYPE_CHECKING:
    from matgen.roles.representation import Representation, Vocabulary


@dataclass(frozen=True)
class HalfBin:
    """How far a decoded crystal may be from the one encoded: half a bin of each quantity.

    The defaults are those of some thousand bins over a cell, 20 Å and 60 degrees; a coarser
    representation passes its own.
    """

    frac: float = 0.5e-3
    length_ang: float = 0.011
    angle_deg: float = 0.031


def check_ordering(ordering: Ordering, *, crystals: Sequence[Crystal] | None = None) -> None:
    """Check an ordering.

    It gives a permutation, the same for the same random stream, and leaves the crystal alone. One
    that leaves the random stream alone writes the same sequence in whichever order sites come.

    Raises:
        ContractBroken: a law does not hold.
    """
    all_items = [_on_a_grid(crystal) for crystal in crystals or hostile_crystals()]
    all_items = [_jumbled(items) for items in all_items] + all_items
    orders = [[_order(ordering, items, seed) for seed in range(4)] for items in all_items]
    draws = any(not np.array_equal(first, other) for first, *others in orders for other in others)
    if ordering.stochastic and not draws:
        raise broken(ordering, "an ordering that says it is stochastic draws from its stream")
    if draws:
        return
    for items, (order, *_) in zip(all_items, orders, strict=True):
        for seed in range(4):
            shuffle = np.random.default_rng(seed).permutation(items.n_sites)
            shuffled = items.take(shuffle)
            written = shuffled.take(_order(ordering, shuffled, 0))
            if not _same_sites(written, items.take(order)):
                raise broken(
                    ordering,
                    "a deterministic ordering writes the same however the sites come",
                    f"Z {written.numbers.tolist()} against {items.numbers[order].tolist()}",
                )


def check_representation(
    representation: Representation,
    *,
    ordering: Ordering | None = None,
    crystals: Sequence[Crystal] | None = None,
    half_bin: HalfBin | None = None,
) -> None:
    """Check that a representation reads back what it writes.

    Decoding what was encoded gives the crystal within half a bin, in the order of the permutation;
    encoding that again gives the same tokens; sequences fit the vocabulary and ``max_tokens``;
    kinds of positions are those of the grammar. Batches give what one by one gives; what an epoch
    describes otherwise stays on the grid. A crystal may be refused with ``OutsideRange``, but not
    every one. Whether grammar and decoder agree is for ``check_grammar``.

    Args:
        representation: What to check.
        ordering: As given where None.
        crystals: The hostile ones where None.
        half_bin: Resolution of the representation.

    Raises:
        ContractBroken: a law does not hold.
    """
    ordering = ordering or AsGiven()
    vocabulary = representation.vocabulary()
    _check_vocabulary(representation, vocabulary)
    n_held = 0
    for crystal in crystals or hostile_crystals():
        kept = _copied(crystal)
        try:
            tokens = representation.encode(crystal, ordering, np.random.default_rng(0))
        except OutsideRange:
            continue
        n_held += 1
        if not _same_sites(kept, crystal) or not np.array_equal(kept.lattice, crystal.lattice):
            raise broken(representation, "encode leaves the crystal as it was")
        _check_sequence(representation, vocabulary, tokens)
        _check_round_trip(representation, ordering, crystal, tokens, half_bin or HalfBin())
        _check_redescribed(representation, tokens)
    _check_batches(representation, ordering, crystals or hostile_crystals())
    if not n_held:
        raise broken(
            representation, "at least one crystal can be encoded", "pass crystals= that it holds"
        )


class AsGiven(Ordering):
    """Writes sites in the order they come: for checks, no real ordering may."""

    name = "as_given"

    def permutation(self, items: Crystal, rng: np.random.Generator) -> NDArray[np.int64]:  # noqa: ARG002 - the role's signature
        """Return 0 to N - 1."""
        return np.arange(items.n_sites, dtype=np.int64)


def sentences(
    representation: Representation, crystals: Sequence[Crystal] | None = None
) -> list[Tokens]:
    """Return the encodings of those crystals that the representation holds."""
    found = []
    for crystal in crystals or hostile_crystals():
        try:
            found.append(representation.encode(crystal, AsGiven(), np.random.default_rng(0)))
        except OutsideRange:
            continue
    return found


def _check_vocabulary(representation: Representation, vocabulary: Vocabulary) -> None:
    if len(set(vocabulary.names)) != len(vocabulary):
        raise broken(representation, "all token names are different")
    if len(vocabulary.kinds) != len(vocabulary):
        raise broken(representation, "every token has a kind", f"{len(vocabulary.kinds)} kinds")
    special = (vocabulary.start, vocabulary.end, *vocabulary.continuous)
    if not all(0 <= token < len(vocabulary) for token in special):
        raise broken(representation, "start, end and continuous tokens are ids", special)
    if representation.vocabulary() != vocabulary:
        raise broken(representation, "the vocabulary is the same every time")


def _check_sequence(representation: Representation, vocabulary: Vocabulary, tokens: Tokens) -> None:
    if tokens.ids.min() < 0 or tokens.ids.max() >= len(vocabulary):
        raise broken(representation, "encoded ids are ids of the vocabulary")
    if tokens.ids[0] != vocabulary.start or tokens.ids[-1] != vocabulary.end:
        raise broken(representation, "a sequence opens with start and closes with end")
    if len(tokens) > representation.max_tokens:
        raise broken(
            representation,
            "no sequence is longer than max_tokens",
            f"{len(tokens)} tokens, max_tokens {representation.max_tokens}",
        )
    if vocabulary.continuous and tokens.values is None:
        raise broken(representation, "with continuous tokens, sequences carry values")
    if tokens.values is not None and tokens.values.shape != tokens.ids.shape:
        raise broken(representation, "there is one value per id", tokens.values.shape)
    walked = _walked_kinds(representation, tokens)
    kinds = representation.position_kinds(tokens)
    if not np.array_equal(kinds, walked):
        at = int(np.argmax(kinds != walked)) if kinds.shape == walked.shape else -1
        raise broken(
            representation, "position_kinds are the grammar's kinds", f"they differ at {at}"
        )


def _check_round_trip(
    representation: Representation,
    ordering: Ordering,
    crystal: Crystal,
    tokens: Tokens,
    half_bin: HalfBin,
) -> None:
    try:
        decoded = representation.decode(tokens)
    except Undecodable as error:
        raise broken(representation, "what was encoded decodes", error) from None
    items = representation.items(crystal)
    if items.n_sites == crystal.n_sites:
        order = ordering.permutation(items, np.random.default_rng(0))
        expected = crystal.take(order)
    else:
        # Items are orbits: which site of an orbit comes first is the representation's business.
        expected = _nearest_sites(crystal, decoded)
    if not np.array_equal(decoded.numbers, expected.numbers):
        raise broken(
            representation,
            "decoded sites have the elements of the encoded ones, in the order of the permutation",
            f"{decoded.numbers.tolist()} against {expected.numbers.tolist()}",
        )
    if decoded.oxidation is not None and not np.array_equal(
        decoded.oxidation, np.asarray(expected.oxidation)
    ):
        raise broken(representation, "decoded oxidation states are those encoded")
    off = np.abs(_wrapped(decoded.frac - expected.frac)).max()
    if off > half_bin.frac:
        raise broken(representation, "decoded coordinates are within half a bin", f"{off:.3g} off")
    lengths, angles = _parameters(decoded.lattice)
    wanted_lengths, wanted_angles = _parameters(crystal.lattice)
    if np.abs(lengths - wanted_lengths).max() > half_bin.length_ang:
        raise broken(
            representation,
            "decoded lattice lengths are within half a bin",
            f"{lengths} against {wanted_lengths} Å",
        )
    if np.abs(angles - wanted_angles).max() > half_bin.angle_deg:
        raise broken(
            representation,
            "decoded lattice angles are within half a bin",
            f"{angles} against {wanted_angles} degrees",
        )
    again = representation.encode(
        decoded if decoded.oxidation is not None else decoded.with_oxidation(expected.oxidation),
        AsGiven(),
        np.random.default_rng(0),
    )
    if not np.array_equal(again.ids, tokens.ids):
        raise broken(representation, "encoding what was decoded gives the same tokens")
    if tokens.values is not None and not np.array_equal(
        np.asarray(again.values), tokens.values, equal_nan=True
    ):
        raise broken(representation, "encoding what was decoded gives the same values")


def _check_redescribed(representation: Representation, tokens: Tokens) -> None:
    """Check that another description of a decoded crystal is one, and reads back as it is."""
    rng = np.random.default_rng(0)
    told = representation.redescribed(representation.decode(tokens), rng)
    again = representation.encode(told, AsGiven(), rng)
    if len(again) != len(tokens):
        raise broken(representation, "another description is as long", f"{len(again)} tokens")
    if not _same_sites(representation.items(told), representation.decode(again)):
        raise broken(representation, "another description stays on the grid")


def _check_batches(
    representation: Representation, ordering: Ordering, crystals: Sequence[Crystal]
) -> None:
    """Check that batches encode, decode and name kinds as one by one does, refusals included."""

    def streams() -> list[np.random.Generator]:
        return [np.random.default_rng(i) for i in range(len(crystals))]

    together = representation.encode_batch(crystals, ordering, streams())
    if len(together) != len(crystals):
        raise broken(representation, "encode_batch gives one outcome per crystal", len(together))
    whole: list[Tokens] = []
    for crystal, rng, outcome in zip(crystals, streams(), together, strict=True):
        try:
            alone: Tokens | None = representation.encode(crystal, ordering, rng)
        except OutsideRange:
            alone = None
        if (alone is None) != isinstance(outcome, CrystalError):
            raise broken(representation, "encode_batch holds what encode holds", str(outcome))
        if alone is None or isinstance(outcome, CrystalError):
            continue
        if not _same_tokens(alone, outcome):
            raise broken(representation, "encode_batch writes what encode writes")
        whole.append(alone)
    spoilt = [Tokens(t.ids[:-1], None if t.values is None else t.values[:-1]) for t in whole]
    decoded = representation.decode_batch([*whole, *spoilt])
    for tokens, crystal_or_error in zip(whole, decoded, strict=False):
        if isinstance(crystal_or_error, CrystalError):
            raise broken(representation, "decode_batch reads what decode reads")
        expected = representation.decode(tokens)
        if not _same_sites(expected, crystal_or_error) or not np.allclose(
            expected.lattice, crystal_or_error.lattice, rtol=0.0, atol=1e-9
        ):
            raise broken(representation, "decode_batch reads what decode reads")
    if not all(isinstance(outcome, CrystalError) for outcome in decoded[len(whole) :]):
        raise broken(representation, "decode_batch refuses what is cut short")
    if whole:
        kinds = np.concatenate([representation.position_kinds(tokens) for tokens in whole])
        if not np.array_equal(kinds, representation.position_kinds_batch(whole)):
            raise broken(representation, "kinds of a batch are those of its sequences")


def _same_tokens(one: Tokens, other: Tokens) -> bool:
    if not np.array_equal(one.ids, other.ids):
        return False
    if one.values is None or other.values is None:
        return one.values is other.values
    return np.array_equal(one.values, other.values)


def _walked_kinds(representation: Representation, tokens: Tokens) -> NDArray[np.int64]:
    import torch

    grammar = representation.grammar()
    state = grammar.begin(1, "cpu")
    kinds = []
    for at in range(len(tokens)):
        kinds.append(int(grammar.kinds(state)[0]))
        values = None if tokens.values is None else torch.from_numpy(tokens.values[at : at + 1])
        state = grammar.advance(state, torch.from_numpy(tokens.ids[at : at + 1]), values)
    return np.array(kinds, dtype=np.int64)


def _order(ordering: Ordering, items: Crystal, seed: int) -> NDArray[np.int64]:
    """Return a permutation, drawn twice and checked."""
    kept = _copied(items)
    order = ordering.permutation(items, np.random.default_rng(seed))
    if not np.array_equal(np.sort(order), np.arange(items.n_sites)):
        raise broken(ordering, "the order is a permutation of the sites", order.tolist())
    again = ordering.permutation(items, np.random.default_rng(seed))
    if not np.array_equal(order, again):
        raise broken(ordering, "the same random stream gives the same order")
    if not _same_sites(kept, items):
        raise broken(ordering, "an ordering leaves the crystal as it was")
    return order


def _jumbled(items: Crystal) -> Crystal:
    return items.take(np.random.default_rng(7).permutation(items.n_sites))


def _on_a_grid(crystal: Crystal) -> Crystal:
    frac = np.round(crystal.frac * 1024) % 1024 / 1024
    return Crystal(crystal.lattice, frac, crystal.numbers, crystal.oxidation)


def _copied(crystal: Crystal) -> Crystal:
    return Crystal(
        crystal.lattice.copy(),
        crystal.frac.copy(),
        crystal.numbers.copy(),
        None if crystal.oxidation is None else crystal.oxidation.copy(),
    )


def _same_sites(one: Crystal, other: Crystal) -> bool:
    return (
        np.array_equal(one.numbers, other.numbers)
        and np.array_equal(one.frac, other.frac)
        and np.array_equal(np.asarray(one.oxidation), np.asarray(other.oxidation))
    )


def _nearest_sites(crystal: Crystal, decoded: Crystal) -> Crystal:
    """Return the crystal's sites, each where the decoded one has its nearest."""
    off = np.abs(_wrapped(decoded.frac[:, None] - crystal.frac[None, :])).max(axis=2)
    return crystal.take(off.argmin(axis=1))


def _wrapped(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    return difference - np.round(difference)


def _parameters(lattice: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the three lengths, Å, and the three angles, degrees."""
    lengths = np.linalg.norm(lattice, axis=1)
    after, before = [1, 2, 0], [2, 0, 1]
    cosines = (lattice[after] * lattice[before]).sum(axis=1) / (lengths[after] * lengths[before])
    return lengths, np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def decodes(representation: Representation, tokens: Tokens) -> bool:
    """Return whether decode accepts a sequence.

    Raises:
        ContractBroken: it fails with anything but a ``CrystalError``.
    """
    try:
        representation.decode(tokens)
    except CrystalError:
        return False
    except Exception as error:  # whatever it is, it breaks the law
        raise broken(
            representation,
            "decode refuses with Undecodable and nothing else",
            f"{type(error).__name__}: {error} for ids {tokens.ids.tolist()}",
        ) from error
    return True
