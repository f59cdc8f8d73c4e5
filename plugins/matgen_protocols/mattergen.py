"""Protocol: the evaluator that was published with MatterGen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from matgen import Chosen, EvaluationProtocol


class MatterGen(EvaluationProtocol):
    """MatterGen's evaluator: relaxed geometries, its matchers, stable up to 0.1 eV/atom.

    Every rate divides by the samples submitted. Its published figures rest on 845,997 entries of
    the Materials Project and Alexandria. Raw energies are corrected by the scheme of the hull;
    MatterGen's TRI2024 reference counts corrections of anions twice (issue 251 of its repository),
    which the report says where that file is the hull.
    """

    name = "mattergen"
    cites = ("Zeni et al., Nature 639, 624 (2025)",)
    # fmax as in mattersim's BatchRelaxer, which has no bound on steps: 1,000,000 there.
    relaxer = Chosen("relaxers:mattersim")
    relaxation: ClassVar[Mapping[str, Any]] = {
        "fmax_ev_per_ang": 0.05,
        "max_steps": 2000,
        "max_seconds": 600.0,
    }
    hull_of_record = "MP and Alexandria, 845,997 entries, MP2020 corrections"
    reference_of_record = "MP and Alexandria, 845,997 entries"

    matcher: Literal["disordered", "ordered"] = "disordered"
    """Its default takes elements of similar radius and electronegativity for one."""

    def measures(self) -> Sequence[Chosen]:
        """Return what its JSON holds, in its order."""
        matcher = {"matcher": self.matcher}
        return (
            Chosen("metrics:validity", {"oxidation_table": "smact14"}),
            Chosen("metrics:uniqueness", matcher),
            Chosen("metrics:novelty", matcher),
            Chosen("metrics:relaxation"),
            Chosen("metrics:match_rate"),
            Chosen("metrics:stability", {"threshold_ev_per_atom": 0.1}),
            Chosen("metrics:sun"),
        )
