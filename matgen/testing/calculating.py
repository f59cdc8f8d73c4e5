"""Check of calculations by first-principles codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matgen.errors import CrystalError
from matgen.roles.calculation import Outcome, Step
from matgen.testing.contract import broken

if TYPE_CHECKING:
    from matgen.records import Crystal
    from matgen.roles.calculation import Calculation


def check_calculation(calculation: Calculation, crystals: Sequence[Crystal], folder: Path) -> None:
    """Check a calculation, without running any code.

    A crystal leads to a step whose input is in its folder, to an outcome that says why not, or to a
    CrystalError; some lead to a step. Asked again it says the same and leaves every file as it is.
    An output that was cut off counts as none.

    Args:
        calculation: What to check.
        crystals: What to calculate.
        folder: An empty one.

    Raises:
        ContractBroken: a law does not hold.
    """
    calculation.check()
    if not calculation.properties:
        raise broken(calculation, "it gives some property")
    steps = 0
    for number, crystal in enumerate(crystals):
        place = folder / str(number)
        place.mkdir()
        try:
            state = calculation.advance(crystal, place)
        except CrystalError:
            continue
        if isinstance(state, Outcome):
            if not state.error:
                raise broken(calculation, "nothing is done before anything ran", number)
            continue
        steps += 1
        _check_step(calculation, state, place)
        before = _files(place)
        if calculation.advance(crystal, place) != state or _files(place) != before:
            raise broken(calculation, "asked again it says the same and writes nothing", number)
        (state.folder / state.output).write_text("a program that was killed while it wr")
        cut_off = calculation.advance(crystal, place)
        if cut_off != state:
            raise broken(calculation, "an output that was cut off counts as none", number)
    if not steps:
        raise broken(calculation, "some crystals can be calculated")


def _check_step(calculation: Calculation, step: Step, place: Path) -> None:
    if not step.folder.resolve().is_relative_to(place.resolve()):
        raise broken(calculation, "a step runs in the folder of its crystal", step.folder)
    if not step.name or Path(step.output).name != step.output:
        raise broken(calculation, "a step has a name, and its output lies in its folder")
    if not any(path.stat().st_size for path in step.folder.iterdir() if path.is_file()):
        raise broken(calculation, "the input of a step is written")
    if (step.folder / step.output).exists():
        raise broken(calculation, "the output of a step is left to the program")


def _files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
