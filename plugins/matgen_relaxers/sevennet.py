"""SevenNet: a potential whose smaller weights come inside its wheel."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from matgen.errors import MissingDependency
from matgen.roles.relaxer import TorchSimRelaxer
from matgen_relaxers.weights import (
    LOADING_ERRORS,
    existing,
    given_file,
    kept_or_fetched,
    no_weights,
)

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from torch_sim.models.interface import ModelInterface

Published = Literal["7net-0", "7net-0_22may2024", "7net-l3i5", "7net-mf-ompa", "7net-omat"]

_CONSTANTS: Final[dict[str, str]] = {
    "7net-0": "SEVENNET_0_11Jul2024",
    "7net-0_22may2024": "SEVENNET_0_22May2024",
    "7net-l3i5": "SEVENNET_l3i5",
    "7net-mf-ompa": "SEVENNET_MF_ompa",
    "7net-omat": "SEVENNET_omat",
}
"""Name to where the package says that the file is, or belongs."""


class SevenNet(TorchSimRelaxer):
    """SevenNet, an equivariant potential trained on the Materials Project's trajectories.

    Energies are raw PBE(+U): to compare with corrected formation energies they must be corrected
    first.
    """

    name = "sevennet"
    package = "sevenn"
    cites = ("Park et al., J. Chem. Theory Comput. 20, 4857 (2024)",)

    model: Published = "7net-0"
    """Published weights. 7net-0, 7net-0_22may2024 and 7net-l3i5 come with the package, the others
    are downloaded; 7net-mf-ompa is used at the fidelity of the Materials Project."""
    weights: str = Field(default="")
    """File with the weights of ``model``, or with your own fine-tuned from it; empty for where
    the package keeps them. Its format is a pickle, which runs code: name only what you trust."""

    @property
    def energy_scale(self) -> str:  # type: ignore[override]  # of the weights, not of the class
        """``pbe+u``; ``omat24`` for the model trained on OMat24 alone."""
        return "omat24" if self.model == "7net-omat" else "pbe+u"

    def files(self) -> tuple[Path, ...]:
        """Return the weights file that was named."""
        return given_file(self.weights)

    def calculator(self, device: str) -> Calculator:
        """Return SevenNet's calculator; energies are totals of the cell, eV.

        Raises:
            MissingDependency: package or weights are missing.
            BadFile: the weights file is no checkpoint of SevenNet.
        """
        path = self._path()
        from sevenn.calculator import SevenNetCalculator

        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of accelerators that are not installed
                calculator: Calculator = SevenNetCalculator(
                    str(path), device=device, modal=self._modal()
                )
        except LOADING_ERRORS as error:
            raise no_weights(path, error, potential="SevenNet") from error
        return calculator

    def torch_sim_model(self, device: str) -> ModelInterface:
        """Return SevenNet as a model of torch-sim.

        Raises:
            MissingDependency, BadFile: as ``calculator``.
        """
        path = self._path()
        import sevenn.calculator
        import torch
        from sevenn.util import load_checkpoint

        # torch-sim 0.3 imports this name, which sevenn 0.13 no longer has.
        vars(sevenn.calculator).setdefault("torch_script_type", torch.jit.ScriptModule)
        from torch_sim.models.sevennet import SevenNetModel

        try:
            network = load_checkpoint(str(path)).build_model()
        except LOADING_ERRORS as error:
            raise no_weights(path, error, potential="SevenNet") from error
        return SevenNetModel(network, modal=self._modal(), device=device)

    def _modal(self) -> str | None:
        return "mpa" if self.model == "7net-mf-ompa" else None

    def _path(self) -> Path:
        """Return the file of the weights, downloaded if need be."""
        try:
            from sevenn import _const as places
            from sevenn.util import download_checkpoint
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != "sevenn":
                raise
            raise MissingDependency(
                "the package sevenn is not installed; pip install matgen[sevennet]"
            ) from None
        inside = Path(getattr(places, _CONSTANTS[self.model]))
        url = places.CHECKPOINT_DOWNLOAD_LINKS.get(
            str(inside), "https://github.com/MDIL-SNU/SevenNet"
        )
        if self.weights:
            (path,) = given_file(self.weights)
            return existing(path, potential="SevenNet", source=url)
        if inside.is_file():
            return inside
        own = Path("~/.cache/sevennet").expanduser() / inside.parent.name / inside.name
        return kept_or_fetched(
            own, lambda: download_checkpoint(str(own), url), potential="SevenNet", source=url
        )
