"""Measurements over generated crystals, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen.roles.evaluator import Evaluator


@hookimpl
def matgen_evaluators() -> list[type[Evaluator]]:
    """Return the evaluators of this plugin."""
    from matgen_metrics.achieved import Conditions
    from matgen_metrics.coverage import Coverage
    from matgen_metrics.displacement import MatchRate
    from matgen_metrics.distributions import Distributions
    from matgen_metrics.lemat_distribution import LematDistribution
    from matgen_metrics.lemat_validity import LematValidity
    from matgen_metrics.novelty import Novelty
    from matgen_metrics.precision_recall import PrecisionRecall
    from matgen_metrics.relaxation import RelaxationSummary
    from matgen_metrics.stability import Stability
    from matgen_metrics.structure_prediction import StructurePrediction
    from matgen_metrics.sun import Sun
    from matgen_metrics.uniqueness import Uniqueness
    from matgen_metrics.validity import Validity

    return [
        Validity,
        LematValidity,
        LematDistribution,
        RelaxationSummary,
        Uniqueness,
        Novelty,
        PrecisionRecall,
        StructurePrediction,
        MatchRate,
        Stability,
        Sun,
        Conditions,
        Coverage,
        Distributions,
    ]
