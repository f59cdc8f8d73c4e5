"""MACE: potentials of the MACE-MP family; weights are downloaded by the package, or a file."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

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

Published = Literal[
    "medium-mpa-0", "medium-0b3", "small", "medium", "large", "small-omat-0", "medium-omat-0"
]

_OMAT: Final = {"small-omat-0", "medium-omat-0"}


class Mace(TorchSimRelaxer):
    """MACE-MP and its successors.

    Energies are raw PBE(+U): to compare with corrected formation energies they must be corrected
    first. The package needs another e3nn than most potentials: give it an environment of its own.
    """

    name = "mace"
    package = "mace-torch"
    cites = (
        "Batatia et al., arXiv:2401.00096",
        "Batatia et al., Advances in Neural Information Processing Systems 35 (2022)",
    )

    model: Published = "medium-mpa-0"
    """Published weights. medium-mpa-0 was trained on MPtrj and Alexandria, the -omat- ones (under
    the Academic Software License) on OMat24, the rest on MPtrj."""
    weights: str = Field(default="")
    """File with the weights of ``model``, or with your own fine-tuned from it; empty for where
    the package keeps them. Its format is a pickle, which runs code: name only what you trust."""
    dtype: Literal["float32", "float64"] = "float64"
    """Precision of the network; its authors advise float64 for relaxations."""

    @property
    def energy_scale(self) -> str:  # type: ignore[override]  # of the weights, not of the class
        """``pbe+u``; ``omat24`` for models trained on OMat24 alone."""
        return "omat24" if self.model in _OMAT else "pbe+u"

    def files(self) -> tuple[Path, ...]:
        """Return the weights file that was named."""
        return given_file(self.weights)

    def calculator(self, device: str) -> Calculator:
        """Return MACE's calculator; energies are totals of the cell, eV.

        Raises:
            MissingDependency: package or weights are missing.
            BadFile: the weights file holds no MACE model.
        """
        calculator: Calculator = self._loaded(device)
        return calculator

    def torch_sim_model(self, device: str) -> ModelInterface:
        """Return MACE as a model of torch-sim.

        Raises:
            MissingDependency, BadFile: as ``calculator``.
        """
        import torch
        from torch_sim.models.mace import MaceModel

        network = self._loaded(device).models[0]
        dtype = getattr(torch, self.dtype)
        return MaceModel(network, device=torch.device(device), dtype=dtype)

    def _loaded(self, device: str) -> Any:  # mace's calculator, untyped
        try:
            from mace.calculators import MACECalculator
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != "mace":
                raise
            raise MissingDependency(
                "the package mace-torch is not installed; pip install matgen[mace], in an "
                "environment of its own if other potentials are there (docs/relaxing.md)"
            ) from None
        path = self._path()
        try:
            # It tells which precision it runs in, which would land among a command's results.
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return MACECalculator(
                    model_paths=str(path), device=device, default_dtype=self.dtype
                )
        except LOADING_ERRORS as error:
            raise no_weights(path, error, potential="MACE") from error

    def _path(self) -> Path:
        """Return the file of the weights, downloaded if need be."""
        from mace.calculators import foundations_models as places
        from mace.tools.utils import get_cache_dir

        url = str(places.mace_mp_urls[self.model])
        if self.weights:
            (path,) = given_file(self.weights)
            return existing(path, potential="MACE", source=url)
        inside = Path(places.local_model_path)
        if self.model == "medium-mpa-0" and inside.is_file():
            return inside
        # As the package names it: letters, digits and underscores of the file's name.
        file = "".join(letter for letter in Path(url).name if letter.isalnum() or letter == "_")
        return kept_or_fetched(
            Path(get_cache_dir()) / file,
            lambda: places.download_mace_mp_checkpoint(self.model),
            potential="MACE",
            source=url,
        )
