"""The base of every component: a frozen value whose fields are its settings."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Component(BaseModel, ABC):
    """A frozen value that fills a role; its fields are its settings, its methods make the rest.

    A class is either abstract (a role, or a named helper such as ``SortedOrdering``) or final.
    Settings are documented under the field; the same text is the help of ``matgen plugins show``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: ClassVar[str]
    """How users call it; lower case, unique among the components of one role in one plugin."""
    revision: ClassVar[int] = 1
    """Raised when saved settings of the previous revision would mean something else."""
    cites: ClassVar[tuple[str, ...]] = ()
    """References to print for a run that uses it (``matgen cite``)."""

    @classmethod
    def upgrade(cls, settings: dict[str, Any], revision: int) -> dict[str, Any]:  # JSON values
        """Return today's form of settings saved by an earlier ``revision`` of this class."""
        del revision
        return settings
