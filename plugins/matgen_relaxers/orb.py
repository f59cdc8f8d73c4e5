"""ORB v3: conservative potentials; weights are downloaded by the package, or a file."""

from __future__ import annotations

import contextlib
import inspect
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from matgen.errors import MissingDependency
from matgen.roles.relaxer import TorchSimRelaxer
from matgen_relaxers.weights import LOADING_ERRORS, existing, given_file, no_weights

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from torch_sim.models.interface import ModelInterface

Published = Literal[
    "orb-v3-conservative-inf-mpa",
    "orb-v3-conservative-20-mpa",
    "orb-v3-conservative-inf-omat",
    "orb-v3-conservative-20-omat",
]


class Orb(TorchSimRelaxer):
    """ORB v3, with forces that are gradients of the energy.

    Energies of the -mpa models are raw PBE(+U) as in the Materials Project: to compare with
    corrected formation energies they must be corrected first. The -omat models were trained with
    other pseudopotentials, so their energies are on a scale of their own.
    """

    name = "orb"
    package = "orb-models"
    cites = ("Rhodes et al., arXiv:2504.06231",)

    model: Published = "orb-v3-conservative-inf-mpa"
    """Published weights: inf sees every neighbour within 6 Å, 20 the nearest twenty; mpa was
    trained on MPtrj and Alexandria, omat on OMat24."""
    weights: str = Field(default="")
    """File with the weights of ``model``, or with your own fine-tuned from it; empty for where
    the package keeps them."""

    @property
    def energy_scale(self) -> str:  # type: ignore[override]  # of the weights, not of the class
        """``pbe+u``; ``omat24`` for models trained on OMat24."""
        return "omat24" if self.model.endswith("-omat") else "pbe+u"

    def files(self) -> tuple[Path, ...]:
        """Return the weights file that was named."""
        return given_file(self.weights)

    def calculator(self, device: str) -> Calculator:
        """Return ORB's calculator; energies are totals of the cell, eV.

        Raises:
            MissingDependency: package or weights are missing.
            BadFile: the weights file does not fit the model.
        """
        network = self._network(device)
        from orb_models.forcefield.calculator import ORBCalculator

        calculator: Calculator = ORBCalculator(network, device=device)
        return calculator

    def torch_sim_model(self, device: str) -> ModelInterface:
        """Return ORB as a model of torch-sim.

        Raises:
            MissingDependency, BadFile: as ``calculator``.
        """
        network = self._network(device)
        from torch_sim.models.orb import OrbModel

        return OrbModel(network, device=device)

    def _network(self, device: str) -> Any:  # orb's regressor, untyped
        try:
            from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != "orb_models":
                raise
            raise MissingDependency(
                "the package orb-models is not installed; pip install matgen[orb]"
            ) from None
        load = ORB_PRETRAINED_MODELS[self.model]
        url = str(inspect.signature(load).parameters["weights_path"].default)
        path = url
        if self.weights:
            path = str(existing(*given_file(self.weights), potential="ORB", source=url))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                # Compiling pays for fixed shapes; every crystal has its own.
                return load(weights_path=path, device=device, compile=False)
        except OSError as error:  # requests' errors are OSErrors
            raise MissingDependency(
                f"the ORB weights could not be downloaded ({type(error).__name__}); set weights "
                f"to a file with {url}"
            ) from None
        except LOADING_ERRORS as error:
            raise no_weights(Path(path), error, potential="ORB") from error
