"""What evaluators see: the samples asked for, and what was prepared from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from matgen.records import Crystal, Measurement, Record, Relaxation, Sample

if TYPE_CHECKING:
    from matgen.evaluation.reference import Reference
    from matgen.roles.condition import Condition
    from matgen.roles.executor import Pool
    from matgen.roles.hull import Hull


@dataclass(frozen=True, eq=False)
class Cohort:
    """One evaluation's samples, in the order asked for, failed ones included.

    Attributes:
        samples: One per sample asked for.
        asked: The denominator of every rate: at least ``len(samples)``.
        relaxations: One per sample where relaxation was asked for, else None.
        hull: Opened reference on the relaxer's energy scale, or None.
        reference: Known crystals for novelty, or None.
        truth: The crystals that were to be predicted or imitated, or None.
        per_truth: Samples for each of them in structure prediction: those at positions
            ``i * per_truth`` to ``(i + 1) * per_truth - 1`` are predictions of ``truth[i]``.
        conditions: Label to condition, for what was requested.
        pool: Where independent pieces of work run.
        done: Measurements of the evaluators that ran before.
    """

    samples: Sequence[Sample]
    asked: int
    pool: Pool
    relaxations: Sequence[Relaxation] | None = None
    hull: Hull | None = None
    reference: Reference | None = None
    truth: Sequence[Record] | None = None
    per_truth: int = 1
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    done: Mapping[str, Measurement] = field(default_factory=dict)

    @property
    def crystals(self) -> list[Crystal | None]:
        """The crystals as sampled, None where a sample failed."""
        return [sample.crystal for sample in self.samples]
