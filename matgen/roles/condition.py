"""Role: a property that can be asked for."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadOptions
from matgen.records import Crystal, PropertyValue
from matgen.roles.component import Component

if TYPE_CHECKING:
    from torch import nn


class Condition(Component):
    """A property of a crystal, how a person writes it, and the numbers the network sees.

    Neither "not asked for" nor "not known" passes through here: the conditioner owns two learned
    vectors for them, and the dropout.
    """

    unit: ClassVar[str]
    """Canonical unit of the values; compared with the dataset's."""
    column: ClassVar[str | None] = None
    """Dataset property it is read from; None where ``achieved`` computes it from the crystal."""

    sources: tuple[str, ...] = ()
    """Names of the label sources to learn from; a value from elsewhere counts as not known. Empty:
    the only one the dataset has."""

    @property
    def label(self) -> str:
        """What users write before the ``=``: the class's name, unless a setting says otherwise."""
        return self.name

    @property
    def reads(self) -> str | None:
        """Dataset property to read: ``column``, unless a setting says otherwise."""
        return self.column

    @property
    def measured_in(self) -> str:
        """Unit of the values: ``unit``, unless a setting says otherwise."""
        return self.unit

    @abstractmethod
    def parse(self, text: str) -> PropertyValue:
        """Return the value that a person wrote.

        Raises:
            BadOptions: not a value of this property, or out of its range; says what is.
        """

    @property
    def feature_size(self) -> int:
        """Numbers per value."""
        return 1

    @abstractmethod
    def feature(self, value: Any) -> float | Sequence[float]:  # each condition narrows the value
        """Return the ``feature_size`` numbers the network sees for a value (PropertyValue).

        The one place where a value is transformed.
        """

    def augment(
        self, features: NDArray[np.float32], keys: NDArray[np.uint64]
    ) -> NDArray[np.float32]:
        """Return (R, feature_size) features as one epoch of training should see them.

        Args:
            features: Of R crystals, NaN where unknown; not to be changed in place.
            keys: (R,) random numbers, one per (seed, epoch, crystal): the only source of chance.
        """
        del keys
        return features

    @abstractmethod
    def encoder(self, width: int) -> nn.Module:
        """Return the learned map from (B, feature_size) float32 features to (B, width)."""

    def achieved(self, crystal: Crystal) -> PropertyValue | None:
        """Return the value that the crystal itself shows; None where a structure cannot tell.

        Must be cheap and import neither pymatgen nor spglib; what needs symmetry is measured in
        ``evaluate``.
        """
        del crystal
        return None

    def error(self, requested: PropertyValue, achieved: PropertyValue) -> float:
        """Return how far off a value is: absolute difference for numbers, 0 or 1 for text."""
        if isinstance(requested, str) or isinstance(achieved, str):
            return float(requested != achieved)
        return abs(achieved - requested)

    def between(self, low: PropertyValue, high: PropertyValue, uniform: float) -> PropertyValue:
        """Return the value at ``uniform``, in (0, 1), of the way from ``low`` to ``high``.

        Raises:
            BadOptions: values of this property have no range.
        """
        del uniform
        raise BadOptions(f"{self.label}={low}..{high}: only numbers have a range")

    def conflict(self, value: PropertyValue, others: Mapping[str, PropertyValue]) -> str:
        """Return why no crystal can have this value together with the others asked for, or "".

        Args:
            value: Of this condition.
            others: Label to value of every other condition in the same request, and what rules fix
                (``Constraint.fixes``).
        """
        del value, others
        return ""

    def fitted(self, values: Iterable[PropertyValue]) -> Condition:
        """Return this condition with settings that depend on the training values filled in.

        Settings that were given or filled in before stay as they are: what a model has learned
        keeps its meaning when the model learns on from other data.

        Args:
            values: All that are known, once through: there may be millions.
        """
        del values
        return self


class ScalarCondition(Condition):
    """A number with a range; write ``feature`` where a transform resolves it better."""

    minimum: ClassVar[float] = -math.inf
    maximum: ClassVar[float] = math.inf

    def parse(self, text: str) -> PropertyValue:
        """Return the number in ``text``, checked against ``minimum`` and ``maximum``."""
        try:
            value = float(text)
        except ValueError:
            raise BadOptions(
                f"{self.label}={text!r} is not a number; give it in {self.measured_in}"
            ) from None
        if not math.isfinite(value):
            raise BadOptions(f"{self.label}={text} is no finite number")
        if not self.minimum <= value <= self.maximum:
            raise BadOptions(
                f"{self.label}={text} is outside {self.minimum:g} to {self.maximum:g} "
                f"{self.measured_in}"
            )
        return value

    def between(self, low: PropertyValue, high: PropertyValue, uniform: float) -> PropertyValue:
        """Return the number ``uniform`` of the way from ``low`` to ``high``."""
        return float(low) + uniform * (float(high) - float(low))

    def feature(self, value: Any) -> float:  # the role's signature; a float here
        """Return the number the network sees; the value itself unless overridden."""
        return float(value)

    def encoder(self, width: int) -> nn.Module:
        """Return a linear layer of its own, as the Materium paper has it."""
        from torch import nn

        return nn.Linear(1, width)
