"""Role: crystals made without a trained model, to compare models with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matgen.roles.component import Component

if TYPE_CHECKING:
    import numpy as np

    from matgen.records import Crystal, Record


class GeneratorSession(ABC):
    """An opened generator: tables made, ready to draw."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Crystal:
        """Return one crystal that depends on the random numbers and on nothing drawn before.

        Raises:
            CrystalError: within its tries it made none; says why.
        """


class Generator(Component):
    """A way of making crystals from known ones: what a generative model has to beat."""

    @abstractmethod
    def open(self, known: Sequence[Record]) -> GeneratorSession:
        """Make whatever the draws share.

        Args:
            known: Crystals to start from, at least one; generators may leave any of them out.

        Raises:
            BadOptions: nothing can be made of these crystals with these settings.
        """
