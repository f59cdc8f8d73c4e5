"""What was fitted to potentials and measured of them: elemental references and calibrations."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matgen.atomic import read_json
from matgen.errors import BadFile
from matgen.evaluation.energy_log import energy_settings
from matgen.roles.hull import Calibration, StableCalls
from matgen.roles.relaxer import Relaxer

_DATA: Final = Path(__file__).parent / "data"
REFERENCES: Final = _DATA / "elemental_references.json"
CALIBRATIONS: Final = _DATA / "calibration.json"


@dataclass(frozen=True)
class ElementalFit:
    """Energies of the elements that a potential's energies are measured from.

    Attributes:
        relaxer: Bare name of the potential.
        settings: Those that decide its energies: another model needs another fit.
        correction: Scheme that its energies were corrected with first, ``none`` for no scheme.
        references: Symbol to eV/atom.
        held_out: n, bias_ev_per_atom and mae_ev_per_atom on crystals that were not fitted.
    """

    relaxer: str
    settings: dict[str, Any]  # JSON
    correction: str
    references: dict[str, float]
    held_out: dict[str, float]

    def fits(self, relaxer: Relaxer) -> bool:
        """Whether it is of this potential with these settings."""
        return self.relaxer == relaxer.name and self.settings == energy_settings(relaxer)


def elemental_fits(path: Path = REFERENCES) -> list[ElementalFit]:
    """Return the fits of a file.

    Raises:
        BadFile: it is no file of ``tools/fit_elemental_references.py``.
    """
    document = read_json(path)
    try:
        if document["format"] != 2:
            raise BadFile(f"{path} is of another format; fit the references again")
        return [
            ElementalFit(
                fit["relaxer"],
                fit["settings"],
                fit["correction"],
                fit["references_ev_per_atom"],
                fit["held_out"],
            )
            for fit in document["fits"]  # type: ignore[attr-defined]  # checked by the except
        ]
    except (KeyError, TypeError) as error:
        raise BadFile(f"{path} is no file of elemental references ({error} is missing)") from None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, 16 hexadecimal digits.

    Raises:
        BadFile: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error}") from None


def calibration_of(relaxer: Relaxer, hull_digest: str) -> Calibration | None:
    """Return the shipped calibration of a potential on a hull; of several, the one on most."""
    found = [
        Calibration(
            crystals=one["crystals"],
            n=one["n"],
            bias_ev_per_atom=one["bias_ev_per_atom"],
            mae_ev_per_atom=one["mae_ev_per_atom"],
            stable=tuple(StableCalls(**calls) for calls in one["stable"]),
        )
        for one in _calibrations()["calibrations"]
        if one["relaxer"] == relaxer.name
        and one["settings"] == energy_settings(relaxer)
        and one["hull_digest"] == hull_digest
    ]
    return max(found, key=lambda one: one.n, default=None)


def shipped_against_whole() -> str:
    """Return how the shipped hull differs from the whole one, a sentence."""
    measured = _calibrations().get("shipped_against_whole")
    if measured is None:
        return "not measured"
    return (
        f"distances {1000 * measured['lower_by_ev_per_atom']:.0f} meV/atom lower on average than "
        f"from the whole hull of {measured['n_whole']:,} entries, over 25 meV/atom for "
        f"{100 * measured['share_over_25_mev']:.0f} % ({measured['n']:,} compositions sampled by "
        f"{measured['crystals']})"
    )


def _calibrations() -> Any:  # JSON of benchmarks/calibration.py
    return read_json(CALIBRATIONS)
