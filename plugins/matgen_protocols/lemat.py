"""Protocol: what of LeMat-GenBench can be measured offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from matgen import Chosen, EvaluationProtocol


class LeMat(EvaluationProtocol):
    """LeMat-GenBench's validity first, then uniqueness and novelty of the valid, as submitted.

    Its stability is a mean over three potentials of which one is gated, each against a hull of its
    own; that part is not here. With ``--relax`` the potential gives single points of the submitted
    geometry, as there, and the label says which it was.
    """

    name = "lemat"
    cites = ("LeMat-GenBench, arXiv:2512.04562",)
    relaxation: ClassVar[Mapping[str, Any]] = {"max_steps": 0}
    hull_of_record = "LeMat-Bulk-MLIP-Hull of ORB v3, MACE-MP and UMA"
    reference_of_record = "LeMat-Bulk compatible_pbe, 5.3 million"

    def measures(self) -> Sequence[Chosen]:
        """Return validity, what is measured of the valid, and the distributions."""
        of_valid = {"only": "lemat_validity.valid", "matcher": "lemat", "geometry": "sampled"}
        return (
            Chosen("metrics:lemat_validity"),
            Chosen("metrics:uniqueness", {**of_valid, "keep": "last"}),
            Chosen("metrics:novelty", of_valid),
            Chosen("metrics:lemat_distribution"),
            Chosen("metrics:stability", {"threshold_ev_per_atom": 0.0}),
            Chosen("metrics:sun"),
        )
