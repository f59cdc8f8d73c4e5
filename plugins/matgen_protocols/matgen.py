"""Protocol: our own, with everything stated."""

from __future__ import annotations

from collections.abc import Sequence

from matgen import Chosen, EvaluationProtocol


class Matgen(EvaluationProtocol):
    """Validity, uniqueness, novelty, relaxation, stability, S.U.N. and what conditions achieved.

    Nothing is fixed but the measurements: its label always names potential, hull and reference, and
    it has no published figures to stand beside.
    """

    name = "matgen"

    def measures(self) -> Sequence[Chosen]:
        """Return all that any cohort of samples can be asked."""
        return (
            Chosen("metrics:validity"),
            Chosen("metrics:uniqueness"),
            Chosen("metrics:novelty"),
            Chosen("metrics:relaxation"),
            Chosen("metrics:match_rate"),
            Chosen("metrics:stability"),
            Chosen("metrics:sun"),
            Chosen("metrics:achieved"),
        )
