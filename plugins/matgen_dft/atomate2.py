"""An atomate2 flow per crystal: relaxation, static run, bands, by VASP."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from matgen import Calculation, Crystal, Outcome, State, Step
from matgen.atomic import replacing
from matgen.errors import MissingDependency
from matgen_dft.vasp_output import VaspOutput, newest, outcome_of

FLOW = "flow.json"


class Atomate2(Calculation):
    """Band gap and magnetic density from atomate2's MPGGADoubleRelaxStaticMaker.

    Writes ``flow.json`` for each crystal, to be submitted by jobflow or jobflow-remote; matgen does
    not run it. Copy the folders of its jobs under that of the crystal to have them read: the run
    that ended last counts.
    """

    name = "atomate2"
    properties = ("band_gap", "magnetic_density")
    cites = ("Ganose et al., Digital Discovery (2025), atomate2",)

    def check(self) -> None:
        """Look for the package.

        Raises:
            MissingDependency: it is not installed.
        """
        _maker()

    def advance(self, crystal: Crystal, folder: Path) -> State:
        """Return the step of submitting the flow, or the outcome."""
        from monty.serialization import dumpfn

        flow = folder / FLOW
        if not flow.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = _maker().make(crystal.to_structure())
            with replacing(flow) as temporary:
                dumpfn(made, temporary, fmt="json")
        ended = newest(folder)
        found = None if ended is None else VaspOutput.read(ended)
        if found is None:
            return Step("flow", folder, (), "flow.out", f"submit {FLOW} with jobflow")
        if found.unconverged:
            return Outcome(error=f"flow: {found.unconverged}")
        return outcome_of(found)


def _maker() -> Any:  # atomate2 is optional
    try:
        from atomate2.vasp.flows.mp import MPGGADoubleRelaxStaticMaker
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "atomate2":
            raise
        raise MissingDependency(
            "the package atomate2 is not installed; pip install matgen[atomate2]"
        ) from None
    return MPGGADoubleRelaxStaticMaker()
