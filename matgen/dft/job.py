"""The folder of a set of calculations.

::

    DIR/calculations.json     the calculation with every setting, and where the crystals came from
    DIR/start.jsonl           the crystals, with their numbers
    DIR/00007/                inputs and outputs of crystal 7, as the code names them
    DIR/results.json, .csv    what came out, written by ``matgen dft read``
    DIR/results.extxyz        relaxed crystals with their properties
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matgen.atomic import read_json, write_json
from matgen.errors import BadFile, BadOptions, CrystalError, NewerFormat
from matgen.records import Sample
from matgen.roles.calculation import Calculation, Outcome, State, Step

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.records import Crystal

FORMAT: Final = 1
_ABOUT: Final = "calculations.json"
_START: Final = "start.jsonl"


@dataclass(frozen=True)
class Job:
    """One calculation of many crystals in a folder.

    Attributes:
        folder: Of all.
        calculation: What is calculated.
        samples: The crystals, by number; failed samples have none.
    """

    folder: Path
    calculation: Calculation
    samples: Sequence[Sample]

    @classmethod
    def create(
        cls,
        folder: Path,
        calculation: Calculation,
        samples: Sequence[Sample],
        *,
        source: str,
        catalog: Catalog,
    ) -> Job:
        """Write a new folder, or take up one of the same calculation and crystals.

        Raises:
            BadOptions: the folder holds something else.
            UserError: what ``Calculation.check`` finds.
        """
        from matgen.io.writing import write_samples

        calculation.check()
        about = {
            "format": FORMAT,
            "calculation": catalog.dump(calculation),
            "source": source,
            "crystals": len(samples),
        }
        if (folder / _ABOUT).exists():
            old = read_json(folder / _ABOUT)
            if old["calculation"] != about["calculation"] or old["source"] != source:
                raise BadOptions(
                    f"{folder} holds another calculation or other crystals; choose another --out"
                )
        elif folder.exists() and any(folder.iterdir()):
            raise BadOptions(f"{folder} is not empty, and no calculation; choose another --out")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_samples(folder / _START, samples, asked=len(samples))
            write_json(folder / _ABOUT, about)
        return cls.load(folder, catalog)

    @classmethod
    def load(cls, folder: Path, catalog: Catalog) -> Job:
        """Open a folder.

        Raises:
            BadFile, NewerFormat: it is none, or a newer matgen wrote it.
        """
        from matgen.io.reading import read_samples

        if not (folder / _ABOUT).exists():
            raise BadFile(
                f"{folder} holds no calculations; matgen dft write CRYSTALS --out makes it"
            )
        about: dict[str, Any] = read_json(folder / _ABOUT)
        if int(about.get("format", 0)) > FORMAT:
            raise NewerFormat(f"{folder} was written by a newer matgen; update this one")
        calculation = catalog.restore(about["calculation"])
        assert isinstance(calculation, Calculation)
        samples, _ = read_samples(folder / _START)
        return cls(folder, calculation, samples)

    def place(self, sample: Sample) -> Path:
        """Return the folder of one crystal."""
        return self.folder / f"{sample.index:05d}"

    def advance(self, sample: Sample) -> State:
        """Return what has to run next for a crystal, its input written, or how it ended."""
        if sample.crystal is None:
            return Outcome(error=f"no crystal: {sample.error}")
        place = self.place(sample)
        try:
            place.mkdir(parents=True, exist_ok=True)
            return self.calculation.advance(_plain(sample.crystal), place)
        except CrystalError as error:
            return Outcome(error=str(error))


def status(state: State) -> str:
    """Return a word and what it is about: ``done``, ``waiting for scf``, ``failed: …``."""
    if isinstance(state, Step):
        return f"waiting for {state.name}" + (f" ({state.lacks})" if state.lacks else "")
    return f"failed: {state.error}" if state.error else "done"


def _plain(crystal: Crystal) -> Crystal:
    """Return the crystal without oxidation states, which codes would take for other species."""
    return crystal.with_oxidation(None)
