"""Protocol: how Materium was evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from matgen import Chosen, EvaluationProtocol


class Materium(EvaluationProtocol):
    """Section 5 of the paper: MatterGen's evaluator with MatterSim-v1.0.0-5M, 1,024 samples.

    Beside S.U.N. it gives the share of samples that pymatgen's matcher finds unchanged by
    relaxation.
    """

    name = "materium"
    cites = ("Materium, arXiv:2512.07486",)
    relaxer = Chosen("relaxers:mattersim", {"weights": "mattersim-v1.0.0-5M"})
    relaxation: ClassVar[Mapping[str, Any]] = {
        "fmax_ev_per_ang": 0.05,
        "max_steps": 2000,
        "max_seconds": 600.0,
    }
    hull_of_record = "MatterGen's: MP and Alexandria, 845,997 entries, MP2020 corrections"
    reference_of_record = "MatterGen's: MP and Alexandria, 845,997 entries"

    def measures(self) -> Sequence[Chosen]:
        """Return the figures of its Table 1 and the text around it."""
        matcher = {"matcher": "disordered"}
        return (
            Chosen("metrics:uniqueness", matcher),
            Chosen("metrics:novelty", matcher),
            Chosen("metrics:relaxation"),
            Chosen("metrics:match_rate"),
            Chosen("metrics:stability", {"threshold_ev_per_atom": 0.1}),
            Chosen("metrics:sun"),
            Chosen("metrics:achieved"),
        )
