"""Which crystals validate where a source has no split of its own: a share of the formulas."""

from __future__ import annotations

import hashlib

from matgen.crystal.composition import reduced_formula
from matgen.records import Crystal


def is_held_out(crystal: Crystal, *, share: float) -> bool:
    """Whether a crystal validates; decided by its reduced formula alone.

    One formula is never on both sides, and a crystal stays on its side when others are added.

    Args:
        share: Of the formulas, 0 to 1.
    """
    digest = hashlib.sha256(reduced_formula(crystal).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
