"""MatterSim: weights are downloaded by its package, or given as a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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

_DEFAULT_NAME: Final = "mattersim-v1.0.0-1M.pth"
_PUBLISHED: Final = {
    "mattersim-v1.0.0-1m": _DEFAULT_NAME,
    "mattersim-v1.0.0-1m.pth": _DEFAULT_NAME,
    "mattersim-v1.0.0-5m": "mattersim-v1.0.0-5M.pth",
    "mattersim-v1.0.0-5m.pth": "mattersim-v1.0.0-5M.pth",
}
"""Names that the package resolves itself, to the file it looks for."""
_SOURCE: Final = "https://github.com/microsoft/mattersim/blob/main/pretrained_models"


class MatterSim(TorchSimRelaxer):
    """MatterSim v1, the potential of MatterGen's and Materium's published evaluations.

    Energies are raw PBE(+U): to compare with corrected formation energies they must be corrected
    first, so the mp2020 hull refuses them.
    """

    name = "mattersim"
    energy_scale = "pbe+u"
    package = "mattersim"
    cites = ("Yang et al., arXiv:2405.04967",)

    weights: str = Field(default="")
    """Checkpoint file, or a published name such as mattersim-v1.0.0-5M; empty for
    mattersim-v1.0.0-1M where the package keeps it."""

    def files(self) -> tuple[Path, ...]:
        """Return the weights file, where one was named rather than published weights."""
        return () if self._published() else given_file(self.weights)

    def calculator(self, device: str) -> Calculator:
        """Return MatterSim's calculator; energies are totals of the cell, eV.

        Raises:
            MissingDependency: package or weights are missing, or torchvision breaks the import.
            BadFile: the weights file is no checkpoint of MatterSim.
        """
        calculator: Calculator = self._loaded(device)
        return calculator

    def torch_sim_model(self, device: str) -> ModelInterface:
        """Return MatterSim as a model of torch-sim.

        Raises:
            MissingDependency, BadFile: as ``calculator``.
        """
        potential = self._loaded(device).potential
        import torch_sim.models.mattersim as wrapper
        from mattersim.forcefield.potential import batch_to_dict

        # torch-sim 0.3 leaves the device of the graphs to mattersim's default, the first GPU.
        wrapper.batch_to_dict = partial(batch_to_dict, device=device)
        return wrapper.MatterSimModel(potential, device=device)

    def _published(self) -> str | None:
        return _PUBLISHED.get((self.weights or _DEFAULT_NAME).lower())

    def _loaded(self, device: str) -> Any:  # mattersim's calculator, untyped
        calculator_class = _imported()
        published = self._published()
        if published is None:
            path = existing(*given_file(self.weights), potential="MatterSim", source=_SOURCE)
        else:
            kept = Path("~/.local/mattersim/pretrained_models").expanduser() / published
            path = kept_or_fetched(
                kept,
                lambda: _download(published, kept.parent),
                potential="MatterSim",
                source=f"{_SOURCE}/{published}",
            )

        try:
            return calculator_class(load_path=str(path), device=device)
        except LOADING_ERRORS as error:
            raise no_weights(path, error, potential="MatterSim") from error


def _imported() -> type[Calculator]:
    try:
        from mattersim.forcefield import MatterSimCalculator
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == "mattersim":
            raise MissingDependency(
                "the package mattersim is not installed; pip install matgen[mattersim]"
            ) from None
        raise MissingDependency(
            f"mattersim is installed but its dependency {error.name} is not; "
            "pip install matgen[mattersim]"
        ) from None
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        # torchvision's CUDA build beside a CPU build of torch; mattersim itself never uses it.
        raise MissingDependency(
            "mattersim cannot be imported because the installed torchvision does not fit the "
            "installed torch (operator torchvision::nms does not exist); "
            "pip uninstall torchvision torchaudio"
        ) from None
    calculator_class: type[Calculator] = MatterSimCalculator
    return calculator_class


def _download(name: str, folder: Path) -> None:
    from mattersim.utils.download_utils import download_checkpoint

    download_checkpoint(name, save_folder=str(folder))
