"""Which crystals are held out for validation where nobody made a split: by reduced formula."""

from __future__ import annotations

import hashlib

from matgen.crystal.composition import reduced_formula
from matgen.records import Crystal


def is_held_out(crystal: Crystal, val_fraction: float) -> bool:
    """Whether a crystal is held out: like every one of its formula, in every dataset.

    Args:
        val_fraction: Share of the reduced formulas that is held out.
    """
    digest = hashlib.sha256(reduced_formula(crystal).encode()).digest()
    return int.from_bytes(digest[:8], "big") < val_fraction * 2**64
