"""Role: an interatomic potential that relaxes crystals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, PrivateAttr

from matgen.errors import BadOptions, MissingDependency
from matgen.roles.component import Component

if TYPE_CHECKING:
    import numpy as np
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray
    from torch_sim.models.interface import ModelInterface

    from matgen.elsewhere import Place
    from matgen.records import Crystal, Relaxation


Forces: TypeAlias = "Callable[[Crystal], NDArray[np.float64]]"
"""A crystal to (N, 3) forces on its sites, eV/Å."""


class RelaxerSession(ABC):
    """An opened relaxer: weights loaded, ready for crystals."""

    @abstractmethod
    def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        """Yield one relaxation per crystal, in order. A failure is a result, never an exception."""


class Relaxer(Component):
    """A potential with its optimiser settings."""

    energy_scale: ClassVar[str]
    """What its total energies compare with: ``mp2020`` (corrected) or ``pbe+u`` (raw) …"""
    package: ClassVar[str] = ""
    """Distribution that the potential comes from, empty for the plugin's own."""

    fmax_ev_per_ang: float = Field(default=0.05, gt=0)
    """Converged when no force (and cell force) exceeds this, eV/Å."""
    max_steps: int = Field(default=500, ge=0)
    """Optimiser steps per crystal; 0 gives a single point."""
    max_seconds: float = Field(default=120.0, gt=0)
    """Wall time per crystal; what is reached then is returned unconverged."""

    _place: Place | None = PrivateAttr(default=None)

    @abstractmethod
    def open(self, device: str) -> RelaxerSession:
        """Load the potential in this process; users of relaxers call ``session``.

        Raises:
            MissingDependency: the package or its weights are not there; says what to install or
                which file to put where.
        """

    def placed(self, place: Place) -> Self:
        """Return this relaxer with its registered name and the interpreter that it belongs in."""
        copy = self.model_copy()
        copy._place = place  # noqa: SLF001 - its own, of a copy
        return copy

    def session(self, device: str, *, threads: int = 0, apart: bool = False) -> RelaxerSession:
        """Return an opened session: here, or in the interpreter that the user chose for it.

        Args:
            device: Torch device.
            threads: Torch threads, 0 for torch's choice.
            apart: In a process of its own even where it belongs in this interpreter, so that a
                crystal whose relaxation hangs or kills its process costs nothing but itself.
                Relaxers that no catalog built cannot be found by a process and stay here.

        Raises:
            MissingDependency: as ``open``.
            BadOptions, WorkerDied: the other interpreter cannot be used.
        """
        if self._place is not None and (self._place.python or apart):
            from matgen.elsewhere import WorkerSession

            return WorkerSession(self, self._place, device, threads=threads)
        if threads:
            import torch

            torch.set_num_threads(threads)
        return self.open(device)

    def forces(self, device: str) -> Forces:
        """Return a function from a crystal to its forces, in this process.

        Raises:
            BadOptions: this potential cannot give them, or belongs in another interpreter.
            MissingDependency: as ``open``.
        """
        del device
        raise BadOptions(f"{self.name} gives no forces of crystals that it does not relax")

    def fingerprint(self) -> str:
        """Return what decides its energies beside its settings: release and weights, as found.

        Raises:
            BadOptions, WorkerDied: it belongs in another interpreter, which cannot be used.
        """
        from matgen.elsewhere import fingerprint_here, fingerprint_there

        if self._place is not None and self._place.python:
            return fingerprint_there(self, self._place)
        return fingerprint_here(self)

    def files(self) -> tuple[Path, ...]:
        """Return the files beside its package that decide its energies: weights that were named."""
        return ()

    def takes_many(self, device: str) -> bool:
        """Whether a session wants many crystals at once rather than one after the other."""
        del device
        return False


def _forces_of(relaxer: AseRelaxer | TorchSimRelaxer, device: str, place: Place | None) -> Forces:
    if place is not None and place.python:
        raise BadOptions(
            f"{relaxer.name} runs in another interpreter ({place.python}), which gives no forces; "
            "run this command with matgen there"
        )
    calculator = relaxer.calculator(device)

    def forces(crystal: Crystal) -> NDArray[np.float64]:
        atoms = crystal.to_atoms()
        atoms.calc = calculator
        found: NDArray[np.float64] = atoms.get_forces()
        return found

    return forces


class AseRelaxer(Relaxer):
    """A relaxer made from an ase calculator; write ``calculator`` and nothing else."""

    @abstractmethod
    def calculator(self, device: str) -> Calculator:
        """Return the loaded calculator.

        Raises:
            MissingDependency: as ``open``.
        """

    def forces(self, device: str) -> Forces:
        """Return a function from a crystal to its forces."""
        return _forces_of(self, device, self._place)

    def open(self, device: str) -> RelaxerSession:
        """Return a session that relaxes cell and sites with FIRE and a Frechet cell filter."""
        from matgen.evaluation.ase_relaxation import AseSession

        return AseSession(self, self.calculator(device))


class TorchSimRelaxer(Relaxer):
    """A relaxer that torch-sim can run too, many crystals in one batch.

    Write ``calculator`` for one crystal at a time and ``torch_sim_model`` for batches.
    """

    batched: Literal["auto", "yes", "no"] = "auto"
    """Many crystals at once through torch-sim: always, never, or (auto) on a CUDA device where
    torch-sim is installed."""
    batch_sites: int = Field(default=2048, ge=1)
    """Sites in one batch; halved as often as the memory demands."""

    @abstractmethod
    def calculator(self, device: str) -> Calculator:
        """Return the loaded calculator.

        Raises:
            MissingDependency: as ``open``.
        """

    @abstractmethod
    def torch_sim_model(self, device: str) -> ModelInterface:
        """Return the potential as a model of torch-sim.

        Raises:
            MissingDependency: as ``open``.
        """

    def forces(self, device: str) -> Forces:
        """Return a function from a crystal to its forces."""
        return _forces_of(self, device, self._place)

    def takes_many(self, device: str) -> bool:
        """Whether crystals are relaxed in batches on this device."""
        if self.batched == "auto":
            from importlib.util import find_spec

            return device.startswith("cuda") and find_spec("torch_sim") is not None
        return self.batched == "yes"

    def open(self, device: str) -> RelaxerSession:
        """Return a session that relaxes in batches, or one crystal at a time.

        Raises:
            MissingDependency: batches were asked for, and torch-sim is not installed.
        """
        if self.takes_many(device):
            from importlib.util import find_spec

            if find_spec("torch_sim") is None:
                raise MissingDependency(
                    "batched = yes relaxes through torch-sim, which is not installed; "
                    "pip install matgen[torch-sim]"
                )
            from matgen.evaluation.torch_sim_relaxation import TorchSimSession

            return TorchSimSession(self, self.torch_sim_model(device))
        from matgen.evaluation.ase_relaxation import AseSession

        return AseSession(self, self.calculator(device))
