"""MatterSim: weights are downloaded by its package, or given as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field

from matgen.errors import BadFile, MissingDependency
from matgen.roles.relaxer import AseRelaxer

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

_DEFAULT_NAME: Final = "mattersim-v1.0.0-1M.pth"
_PUBLISHED: Final = {
    "mattersim-v1.0.0-1m": _DEFAULT_NAME,
    "mattersim-v1.0.0-1m.pth": _DEFAULT_NAME,
    "mattersim-v1.0.0-5m": "mattersim-v1.0.0-5M.pth",
    "mattersim-v1.0.0-5m.pth": "mattersim-v1.0.0-5M.pth",
}
"""Names that the package resolves itself, to the file it looks for."""
_SOURCE: Final = "https://github.com/microsoft/mattersim/tree/main/pretrained_models"


class MatterSim(AseRelaxer):
    """MatterSim v1, the potential of MatterGen's and Materium's published evaluations.

    Energies are raw PBE(+U): to compare with corrected formation energies they must be corrected
    first, so the mp2020 hull refuses them.
    """

    name = "mattersim"
    energy_scale = "pbe+u"
    cites = ("Yang et al., arXiv:2405.04967",)

    weights: str = Field(default="")
    """Checkpoint file, or a published name such as mattersim-v1.0.0-5M; empty for
    mattersim-v1.0.0-1M where the package keeps it."""

    def calculator(self, device: str) -> Calculator:
        """Return MatterSim's calculator; energies are totals of the cell, eV.

        Raises:
            MissingDependency: package or weights are missing, or torchvision breaks the import.
            BadFile: the weights file is no checkpoint of MatterSim.
        """
        calculator_class = _imported()
        published = _PUBLISHED.get((self.weights or _DEFAULT_NAME).lower())
        if published is None:
            return self._loaded(calculator_class, Path(self.weights).expanduser(), device)
        kept = Path("~/.local/mattersim/pretrained_models").expanduser() / published
        if not kept.exists():
            _fetch(published, kept)
        return self._loaded(calculator_class, kept, device)

    def _loaded(self, calculator_class: type[Calculator], path: Path, device: str) -> Calculator:
        if not path.is_file():
            raise MissingDependency(
                f"the MatterSim weights {path} do not exist; set weights to a checkpoint file, "
                f"for example one from {_SOURCE}"
            )
        from pickle import UnpicklingError

        try:
            return calculator_class(load_path=str(path), device=device)
        except (UnpicklingError, EOFError, KeyError, RuntimeError, AssertionError) as error:
            # torch's own text advises to load with weights_only=False, which runs code in the file.
            raise BadFile(
                f"{path} is no MatterSim checkpoint ({type(error).__name__}); give one as weights, "
                f"for example from {_SOURCE}"
            ) from error


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


def _fetch(name: str, kept: Path) -> None:
    """Let the package download its weights to where it looks for them."""
    from mattersim.utils.download_utils import download_checkpoint

    try:
        download_checkpoint(name, save_folder=str(kept.parent))
    except OSError as error:  # requests' errors are OSErrors
        raise MissingDependency(
            f"the MatterSim weights are not at {kept} and could not be downloaded "
            f"({type(error).__name__}); put {name} from {_SOURCE} there, or give another "
            "checkpoint file as weights"
        ) from None
