"""Protocol: crystal structure prediction."""

from __future__ import annotations

from collections.abc import Sequence

from matgen import Chosen, EvaluationProtocol


class StructurePrediction(EvaluationProtocol):
    """Match rate and RMSE at k samples for each true crystal, as CDVAE, DiffCSP and CrystaLLM do.

    Samples are predictions in the order of ``--truth``, k for each. Both the unfiltered rate and
    the one in which prediction and truth must be valid are given, and METRe with cRMSE, in which
    every true crystal is compared with all predictions of its composition.
    """

    name = "csp"
    cites = (
        "Xie et al., CDVAE, arXiv:2110.06197",
        "Jiao et al., DiffCSP, arXiv:2309.04475",
        "Antunes et al., CrystaLLM, Nature Communications 15, 10570 (2024)",
        "Betala et al., METRe, arXiv:2509.12178",
    )
    truths_of_record = ("mp_20:test", "perov_5:test", "carbon_24:test", "mpts_52:test")
    wants_truth = True
    predicts = True

    def measures(self) -> Sequence[Chosen]:
        """Return structure prediction with CDVAE's tolerances, and validity."""
        return (
            Chosen("metrics:csp", {"matcher": "cdvae"}),
            Chosen("metrics:validity", {"oxidation_table": "smact14"}),
        )
