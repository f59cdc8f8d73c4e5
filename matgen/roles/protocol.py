"""Role: a way of evaluating under whose name results are compared."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from matgen.roles.component import Component


@dataclass(frozen=True)
class Chosen:
    """A component by name, with the settings that a protocol fixes.

    Attributes:
        use: Qualified name, as ``metrics:uniqueness``.
        settings: Field to value; what is not named keeps the component's default.
    """

    use: str
    settings: Mapping[str, Any] = field(default_factory=dict)


class EvaluationProtocol(Component):
    """Which measurements, with which settings: frozen, so that a name means something.

    A published protocol also says what its published figures were made with. A run with anything
    else has it in its label (``mattergen/chgnet+hull_mp2020``), and never stands in a column with
    those figures. The fields of a protocol are the choices that it leaves open itself.
    """

    relaxer: ClassVar[Chosen | None] = None
    """The potential of the published figures; used where nobody names one. Another potential gets
    the settings of ``relaxation``."""
    relaxation: ClassVar[Mapping[str, Any]] = {}
    """Settings of any potential that this protocol fixes, as ``{"max_steps": 200}``."""
    hull_of_record: ClassVar[str] = ""
    """The hull of the published figures, in words; empty if there are no such figures."""
    reference_of_record: ClassVar[str] = ""
    """The known crystals of the published figures, in words."""
    truths_of_record: ClassVar[tuple[str, ...]] = ()
    """Sets of crystals to predict or imitate for which there are published figures, as
    ``mp_20:test``."""
    wants_truth: ClassVar[bool] = False
    """Whether it compares with crystals to predict or imitate."""
    predicts: ClassVar[bool] = False
    """Whether samples are predictions, so many for each crystal of the truth, in its order."""

    @abstractmethod
    def measures(self) -> Sequence[Chosen]:
        """Return the evaluators in the order that a report shows them."""
