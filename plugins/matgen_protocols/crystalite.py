"""Protocol: the de novo tables of Crystalite and GLASS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from matgen import Chosen, EvaluationProtocol


class Crystalite(EvaluationProtocol):
    """10,000 samples, CDVAE's wide matcher, stable up to 0.1 eV/atom after at most 200 steps.

    Published with the potential NequIP-OAM-L, FIRE and a Frechet cell filter; Wasserstein
    distances of density and number of elements are to the MP-20 test set (``--truth``).
    """

    name = "crystalite"
    cites = ("Crystalite (tables 13 of GLASS), 2026",)
    relaxation: ClassVar[Mapping[str, Any]] = {"max_steps": 200}
    hull_of_record = "Materials Project, with NequIP-OAM-L"
    reference_of_record = "MP-20 train"
    truths_of_record = ("mp_20:test",)

    def measures(self) -> Sequence[Chosen]:
        """Return the columns of its table."""
        matcher = {"matcher": "cdvae", "geometry": "sampled"}
        return (
            Chosen("metrics:validity", {"oxidation_table": "smact14"}),
            Chosen("metrics:uniqueness", matcher),
            Chosen("metrics:novelty", matcher),
            Chosen("metrics:relaxation"),
            Chosen("metrics:stability", {"threshold_ev_per_atom": 0.1}),
            Chosen("metrics:sun"),
            Chosen("metrics:distributions"),
        )
