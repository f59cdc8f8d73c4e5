"""Role: a property by a first-principles code: files in, files out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.records import Crystal


@dataclass(frozen=True)
class Step:
    """A program that has to run next; its input is written.

    Attributes:
        name: As in messages and file names.
        folder: Where it runs.
        arguments: What follows the command that the user named.
        output: File in the folder that takes its standard output.
        lacks: What has to be put there first, which matgen may not hand out; empty if nothing.
    """

    name: str
    folder: Path
    arguments: tuple[str, ...]
    output: str
    lacks: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a calculation ended.

    Attributes:
        properties: Name to value in canonical units; empty where it failed.
        crystal: As the code relaxed it, None if it did not come so far.
        facts: Further numbers of interest, with their unit in the name.
        error: Why it failed, with the step; empty where it did not.
    """

    properties: Mapping[str, float] = field(default_factory=dict)
    crystal: Crystal | None = None
    facts: Mapping[str, float | str] = field(default_factory=dict)
    error: str = ""


State: TypeAlias = Step | Outcome


class Calculation(Component):
    """A chain of runs of a code that gives properties of a crystal.

    All state is in files of one folder per crystal: killed, copied to a cluster and back, or run by
    hand, the chain goes on from what is there.
    """

    properties: ClassVar[tuple[str, ...]]
    """Names of what it gives, as conditions call them: ``band_gap``."""
    program: ClassVar[str] = ""
    """What usually runs a step, as a hint: ``pw.x``; empty where matgen cannot run it."""

    def check(self) -> None:
        """Look at what all crystals share, before anything is written.

        Raises:
            UserError: a folder or package is not there, a setting is wrong.
        """

    @abstractmethod
    def advance(self, crystal: Crystal, folder: Path) -> State:
        """Return what has to run next, its input written, or how the calculation ended.

        Looks at nothing but the files in the folder, and leaves whole ones alone: called twice it
        says the same. An output that was cut off counts as not there.

        Args:
            crystal: The start.
            folder: Of this crystal alone; it exists.

        Raises:
            CrystalError: this crystal cannot be calculated: no pseudopotential for an element …
        """
