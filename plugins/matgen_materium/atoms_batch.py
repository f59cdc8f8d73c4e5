"""Many crystals to tokens and back at once, without a loop over sites.

Axis letters: B crystals, T sites of all of them, L tokens of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgen import Crystal, Tokens
from matgen.errors import CrystalError, OutsideRange
from matgen_materium.cells import (
    MINIMUM_SQUARED_SHAPE,
    lattice_parameters,
    lattice_vectors,
    squared_shape,
)

if TYPE_CHECKING:
    from matgen import Ordering
    from matgen_materium.atoms import Atoms


def encode_batch(
    atoms: Atoms,
    crystals: Sequence[Crystal],
    ordering: Ordering,
    rngs: Sequence[np.random.Generator],
) -> list[Tokens | CrystalError]:
    """Return the 4N + 10 tokens of each crystal, or why there are none."""
    if not crystals:
        return []
    bins, reasons = _cells(atoms, crystals)
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    if kept:
        written = _written(
            atoms, [crystals[i] for i in kept], bins[kept], ordering, [rngs[i] for i in kept]
        )
        for i, outcome in zip(kept, written, strict=True):
            reasons[i] = outcome
    return [outcome for outcome in reasons if outcome is not None]


def decode_batch(atoms: Atoms, sequences: Sequence[Tokens]) -> list[Crystal | CrystalError | None]:
    """Return the crystal of each sequence; None where ``decode`` finds a fault."""
    decoded: list[Crystal | CrystalError | None] = [None] * len(sequences)
    fits = [
        i
        for i, tokens in enumerate(sequences)
        if len(tokens) % 4 == 2 and 14 <= len(tokens) <= atoms.max_tokens
    ]
    if not fits:
        return decoded
    ids = np.concatenate([sequences[i].ids for i in fits])
    places = _Places(atoms, np.array([(len(sequences[i]) - 10) // 4 for i in fits]))
    lattice_B6 = ids[places.lattice_B6] - atoms.first_bin
    sites_T4 = ids[places.sites_T4]
    species_T = sites_T4[:, atoms.site_columns[0]] - atoms.first_species
    points_T3 = sites_T4[:, atoms.site_columns[1:]] - atoms.first_bin
    good_T = (species_T >= 0) & (species_T < len(atoms.species))
    good_T &= ((points_T3 >= 0) & (points_T3 < atoms.bins.n_coordinate)).all(axis=1)
    good_B = (ids[places.frame_B4] == places.frame_ids).all(axis=1)
    good_B &= ((lattice_B6 >= 0) & (lattice_B6 < atoms.bins.n_lattice)).all(axis=1)
    good_B &= np.logical_and.reduceat(good_T, places.firsts_B)
    parameters_B6 = atoms.bins.parameters(lattice_B6)
    good_B &= _shapes(parameters_B6) >= MINIMUM_SQUARED_SHAPE
    good = np.flatnonzero(good_B)
    lattices = np.zeros((len(fits), 3, 3))
    lattices[good] = lattice_vectors(parameters_B6[good])
    frac_T3 = atoms.bins.frac(points_T3)
    pairs_T2 = atoms.species_pairs[np.where(good_T, species_T, 0)]
    for b in good.tolist():
        sites = slice(places.firsts_B[b], places.firsts_B[b] + places.n_sites_B[b])
        decoded[fits[b]] = Crystal(
            lattices[b], frac_T3[sites], pairs_T2[sites, 0], pairs_T2[sites, 1]
        )
    return decoded


def _cells(
    atoms: Atoms, crystals: Sequence[Crystal]
) -> tuple[NDArray[np.int64], list[Tokens | CrystalError | None]]:
    """Return (B, 6) bins of the lattices, and why a crystal cannot be held, None where it can."""
    reasons: list[Tokens | CrystalError | None] = [None] * len(crystals)
    parameters = lattice_parameters(np.array([crystal.lattice for crystal in crystals]))
    bins, inside = atoms.bins.lattice_bins(parameters)
    shapes = _shapes(atoms.bins.parameters(bins))
    for i, crystal in enumerate(crystals):
        if crystal.n_sites > atoms.max_sites:
            reasons[i] = OutsideRange(
                f"{crystal.n_sites} sites, the representation holds {atoms.max_sites}"
            )
        elif not inside[i].all():
            reasons[i] = atoms.bins.outside_range(parameters[i], inside[i])
        elif shapes[i] < MINIMUM_SQUARED_SHAPE:
            told = ", ".join(f"{angle:g}" for angle in atoms.bins.parameters(bins[i])[3:])
            reasons[i] = OutsideRange(f"angles {told} make a flat cell or none")
        elif crystal.oxidation is None:
            reasons[i] = OutsideRange(
                "the crystal has no oxidation states; assign them before encoding"
            )
    return bins, reasons


def _written(
    atoms: Atoms,
    crystals: Sequence[Crystal],
    bins_B6: NDArray[np.int64],
    ordering: Ordering,
    rngs: Sequence[np.random.Generator],
) -> list[Tokens | CrystalError]:
    places = _Places(atoms, np.array([crystal.n_sites for crystal in crystals]))
    points_T3 = atoms.bins.quantise_frac(np.concatenate([c.frac for c in crystals]))
    frac_T3 = atoms.bins.frac(points_T3)
    numbers_T = np.concatenate([c.numbers for c in crystals])
    states_T = np.concatenate([c.oxidation for c in crystals if c.oxidation is not None])
    species_T = atoms.species_ids(numbers_T, states_T)
    order_T = np.empty(len(numbers_T), dtype=np.int64)
    for crystal, first, rng in zip(crystals, places.firsts_B.tolist(), rngs, strict=True):
        sites = slice(first, first + crystal.n_sites)
        items = Crystal(crystal.lattice, frac_T3[sites], numbers_T[sites], states_T[sites])
        order_T[sites] = first + ordering.permutation(items, rng)
    site_T4 = np.empty((len(numbers_T), 4), dtype=np.int64)
    site_T4[:, atoms.site_columns[0]] = species_T[order_T]
    site_T4[:, atoms.site_columns[1:]] = atoms.first_bin + points_T3[order_T]
    ids = np.empty(int(places.lengths_B.sum()), dtype=np.int64)
    ids[places.frame_B4] = places.frame_ids
    ids[places.lattice_B6] = atoms.first_bin + bins_B6
    ids[places.sites_T4] = site_T4
    known_B = np.logical_and.reduceat(species_T >= 0, places.firsts_B)
    return [
        Tokens(ids[start : start + length]) if known else _unknown_species(atoms, crystal)
        for start, length, known, crystal in zip(
            places.starts_B.tolist(),
            places.lengths_B.tolist(),
            known_B.tolist(),
            crystals,
            strict=True,
        )
    ]


class _Places:
    """Where each token of some sequences of known numbers of sites stands in their joined ids.

    Attributes:
        lengths_B, starts_B: Of each sequence in the ids; firsts_B: of its sites among all sites.
        frame_B4: Start, cell and sites markers, end; ``frame_ids`` is what stands there.
        lattice_B6, sites_T4: Cell parameters; the four tokens of each site.
    """

    def __init__(self, atoms: Atoms, n_sites_B: NDArray[np.int64]) -> None:
        self.n_sites_B = n_sites_B
        self.lengths_B = 4 * n_sites_B + 10
        self.starts_B = np.cumsum(self.lengths_B) - self.lengths_B
        self.firsts_B = np.cumsum(n_sites_B) - n_sites_B
        first_lattice_B, first_site_B = atoms.places(n_sites_B)
        frame = [0 * n_sites_B, first_lattice_B - 1, first_site_B - 1, self.lengths_B - 1]
        self.frame_B4 = self.starts_B[:, None] + np.stack(frame, axis=1)
        self.frame_ids = atoms.frame_ids
        self.lattice_B6 = (self.starts_B + first_lattice_B)[:, None] + np.arange(6)
        within_T = np.arange(int(n_sites_B.sum())) - np.repeat(self.firsts_B, n_sites_B)
        first_T = np.repeat(self.starts_B + first_site_B, n_sites_B) + 4 * within_T
        self.sites_T4 = first_T[:, None] + np.arange(4)


def _shapes(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (V / abc)² of (B, 6) parameters."""
    return squared_shape(*np.cos(np.radians(parameters[:, 3:])).T)


def _unknown_species(atoms: Atoms, crystal: Crystal) -> OutsideRange:
    assert crystal.oxidation is not None
    bad = int(np.argmax(atoms.species_ids(crystal.numbers, crystal.oxidation) < 0))
    number, state = int(crystal.numbers[bad]), int(crystal.oxidation[bad])
    return OutsideRange(f"no token for atomic number {number} in oxidation state {state:+d}")
