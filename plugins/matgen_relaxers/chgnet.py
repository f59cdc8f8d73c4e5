"""CHGNet: a potential whose weights come inside its wheel."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from matgen.errors import MissingDependency
from matgen.roles.relaxer import AseRelaxer

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


class Chgnet(AseRelaxer):
    """CHGNet 0.3.0, trained on corrected Materials Project energies.

    Its energies are on the MP2020 scale already: correcting them again moves oxides of transition
    metals by 0.9 eV/atom.
    """

    name = "chgnet"
    revision = 2
    energy_scale = "mp2020"
    package = "chgnet"
    cites = ("Deng et al., Nature Machine Intelligence 5, 1031 (2023)",)

    def calculator(self, device: str) -> Calculator:
        """Return CHGNet's calculator; energies are totals of the cell, eV.

        Raises:
            MissingDependency: chgnet is not installed.
        """
        try:
            from chgnet.model.model import CHGNet
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != "chgnet":
                raise
            raise MissingDependency(
                "the package chgnet is not installed; pip install matgen[chgnet]"
            ) from None
        from matgen_relaxers.chgnet_calculator import ChgnetCalculator

        # It prints what it loads, which would land among a command's results.
        with contextlib.redirect_stdout(io.StringIO()):
            model = CHGNet.load(use_device=device, verbose=False)
        model.graph_converter.set_isolated_atom_response("ignore")
        return ChgnetCalculator(model, device)
