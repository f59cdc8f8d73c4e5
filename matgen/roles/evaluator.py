"""Role: one measurement over generated crystals."""

from __future__ import annotations

from abc import abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.evaluation.cohort import Cohort
    from matgen.records import Measurement


class Need(StrEnum):
    """What must have been prepared before an evaluator can measure."""

    RELAXED = "relaxed"
    HULL = "hull"
    REFERENCE = "reference"
    TRUTH = "truth"


class Evaluator(Component):
    """Measures a cohort of samples. An unmet need becomes a row that says so, not an error."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    after: ClassVar[tuple[str, ...]] = ()
    """Names of evaluators whose columns it reads."""

    def waits_for(self) -> tuple[str, ...]:
        """Return the names of the evaluators that must run before; ``after``, unless set."""
        return self.after

    @abstractmethod
    def measure(self, cohort: Cohort) -> Measurement:
        """Return the measurement; every rate divides by ``cohort.asked``.

        Must survive any cohort: empty, all invalid, unknown elements.
        """
