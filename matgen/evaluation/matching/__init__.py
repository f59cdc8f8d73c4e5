"""Which crystals are the same: pymatgen's StructureMatcher, exactly, without its repeated work.

pymatgen reduces both cells again in every comparison and tries lattices and translations one by
one. Here crystals are put into buckets by reduced formula, a cell is reduced once and only if its
bucket has a partner for it, cells whose sites cannot pair up are told apart without being compared,
and lattices and translations are ruled out all at once. The answers are those of plain pymatgen to
the last bit; docs/matching.md says what that rests on.
"""

from matgen.evaluation.matching.candidate import Candidate
from matgen.evaluation.matching.comparing import PAIR_SECONDS, Comparisons
from matgen.evaluation.matching.displacement import Displacement, match_and_rmsd
from matgen.evaluation.matching.keys import CompositionKey, comparable, composition_key
from matgen.evaluation.matching.masks import (
    Keep,
    Matches,
    ReferenceMatches,
    novel_mask,
    reference_matches,
    unique_mask,
)
from matgen.evaluation.matching.matchers import DisorderedMatcher, Matcher, OrderedMatcher
from matgen.evaluation.matching.names import MATCHERS, described, matcher_named
from matgen.evaluation.matching.pairing import Pairing
from matgen.evaluation.matching.predictions import PredictionDistances, prediction_distances
from matgen.evaluation.matching.reduction import REDUCTION_REVISION, ReducedCell
from matgen.evaluation.matching.tolerances import DEFAULT, RMSD, Tolerances

__all__ = [
    "DEFAULT",
    "MATCHERS",
    "PAIR_SECONDS",
    "REDUCTION_REVISION",
    "RMSD",
    "Candidate",
    "Comparisons",
    "CompositionKey",
    "DisorderedMatcher",
    "Displacement",
    "Keep",
    "Matcher",
    "Matches",
    "OrderedMatcher",
    "Pairing",
    "PredictionDistances",
    "ReducedCell",
    "ReferenceMatches",
    "Tolerances",
    "comparable",
    "composition_key",
    "described",
    "match_and_rmsd",
    "matcher_named",
    "novel_mask",
    "prediction_distances",
    "reference_matches",
    "unique_mask",
]
