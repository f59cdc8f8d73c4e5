"""Protocol: the generation metrics of CDVAE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matgen import Chosen, EvaluationProtocol


class Cdvae(EvaluationProtocol):
    """Validity, coverage (COV-R, COV-P, AMSD, AMCD) and Wasserstein distances to a test set."""

    name = "cdvae"
    cites = ("Xie et al., CDVAE, arXiv:2110.06197",)
    truths_of_record = ("mp_20:test", "perov_5:test", "carbon_24:test")
    wants_truth = True

    cutoffs: Literal["mp20", "perov", "carbon"] = "mp20"
    """Distances up to which a crystal is covered: 0.4 and 10 for mp20, 0.2 and 4 for the others."""

    def measures(self) -> Sequence[Chosen]:
        """Return its metrics; the ones that need trained property models are left out."""
        return (
            Chosen("metrics:validity", {"oxidation_table": "smact14"}),
            Chosen("metrics:coverage", {"cutoffs": self.cutoffs}),
        )
