"""Relaxation of many crystals in one batch through torch-sim, in the bounds of one by one."""

from __future__ import annotations

import contextlib
import io
import logging
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matgen.evaluation.relaxation_bounds import burst_cell, collapse, objection
from matgen.records import Crystal, Relaxation
from matgen.roles.relaxer import RelaxerSession, TorchSimRelaxer

if TYPE_CHECKING:
    from torch_sim.models.interface import ModelInterface

log = logging.getLogger(__name__)


@dataclass
class _Flight:
    """One crystal on its way; ``seconds`` is its share of the batch's time."""

    index: int
    crystal: Crystal
    initial_energy: float | None = None
    n_steps: int = 0
    seconds: float = 0.0

    def failed(self, reason: str) -> Relaxation:
        return Relaxation(
            None,
            initial_energy=self.initial_energy,
            n_steps=self.n_steps,
            seconds=self.seconds,
            error=reason,
        )


@dataclass
class _Batch:
    """Crystals that take their steps together; ``state`` is torch-sim's, systems in their order."""

    state: Any  # FrechetCellFIREState, untyped
    flights: list[_Flight] = field(default_factory=list)

    @property
    def n_sites(self) -> int:
        return sum(flight.crystal.n_sites for flight in self.flights)

    def part(self, positions: Sequence[int]) -> _Batch:
        return _Batch(self.state[list(positions)], [self.flights[k] for k in positions])


class TorchSimSession(RelaxerSession):
    """Relaxes with torch-sim's FIRE and Frechet cell filter, which take ase's steps.

    A crystal that is finished leaves its batch; when half of it has left, waiting ones enter. A
    batch that does not fit the memory, or that one crystal spoils, goes on as two halves.
    """

    def __init__(self, relaxer: TorchSimRelaxer, model: ModelInterface) -> None:
        from torch_sim.optimizers import frechet_cell_fire

        self._relaxer = relaxer
        self._model = model
        self._begin, self._step = frechet_cell_fire(model)
        self._largest = relaxer.batch_sites

    def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        """Yield one relaxation per crystal, in order; a failure says why in ``error``."""
        found: dict[int, Relaxation] = {}
        waiting: deque[_Flight] = deque()
        for index, crystal in enumerate(crystals):
            reason = objection(crystal)
            if reason:
                found[index] = Relaxation(None, error=reason)
            else:
                waiting.append(_Flight(index, crystal))
        batches: list[_Batch] = []
        for index in range(len(crystals)):
            while index not in found:
                self._refill(batches, waiting, found)
                if batches:
                    self._advance(batches, found)
            yield found.pop(index)

    def _refill(
        self, batches: list[_Batch], waiting: deque[_Flight], found: dict[int, Relaxation]
    ) -> None:
        """Let waiting crystals into the batch whose turn it is, if half of it is free."""
        flying = batches[-1].n_sites if batches else 0
        if not waiting or flying > self._largest // 2:
            return
        fresh = [waiting.popleft()]
        n_sites = flying + fresh[0].crystal.n_sites
        while waiting and n_sites + waiting[0].crystal.n_sites <= self._largest:
            fresh.append(waiting.popleft())
            n_sites += fresh[-1].crystal.n_sites
        for begun in self._begun(fresh, found):
            if not self._settle(begun, found):
                continue
            batches.append(_joined(batches.pop(), begun) if batches else begun)

    def _begun(self, fresh: list[_Flight], found: dict[int, Relaxation]) -> Iterator[_Batch]:
        """Yield batches at their first energies and forces; one unless something went wrong."""
        started = time.monotonic()
        try:
            state = self._fenced(lambda: self._started(fresh))
        except Exception as error:  # noqa: BLE001 - the fence around one batch
            for half in self._halves(fresh, error, found):
                yield from self._begun(half, found)
            return
        energies = state.energy.detach().double().cpu().tolist()
        seconds = (time.monotonic() - started) / len(fresh)
        for flight, energy in zip(fresh, energies, strict=True):
            flight.initial_energy = energy if np.isfinite(energy) else None
            flight.seconds += seconds
        yield _Batch(state, fresh)

    def _started(self, fresh: Sequence[_Flight]) -> Any:  # FrechetCellFIREState, untyped
        from torch_sim.state import initialize_state

        atoms = [_right_handed(flight.crystal).to_atoms() for flight in fresh]
        state = self._begin(initialize_state(atoms, self._model.device, self._model.dtype))
        # torch-sim marks newcomers by velocities that are not numbers, and then leaves out the
        # mixing of velocities for the whole batch: nobody's steps may depend on who enters. A
        # newcomer at rest has its time step halved once, so that it begins with ase's.
        state.velocities.zero_()
        state.cell_velocities.zero_()
        state.dt *= 2.0
        return state

    def _advance(self, batches: list[_Batch], found: dict[int, Relaxation]) -> None:
        """Take one step with the last batch, and take out what is finished."""
        batch = batches.pop()
        started = time.monotonic()
        try:
            # A copy takes the step, so that a step that fails half-way can be taken again.
            batch.state = self._fenced(lambda: self._step(batch.state.clone()))
        except Exception as error:  # noqa: BLE001 - the fence around one batch
            place = {flight.index: k for k, flight in enumerate(batch.flights)}
            batches += [
                batch.part([place[flight.index] for flight in half])
                for half in self._halves(batch.flights, error, found)
            ]
            return
        seconds = (time.monotonic() - started) / len(batch.flights)
        for flight in batch.flights:
            flight.n_steps += 1
            flight.seconds += seconds
        if self._settle(batch, found):
            batches.append(batch)

    def _fenced(self, act: Callable[[], Any]) -> Any:  # torch-sim's state, untyped
        """Do something whose warnings and prints are nobody's business."""
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return act()

    def _halves(
        self, flights: list[_Flight], error: Exception, found: dict[int, Relaxation]
    ) -> list[list[_Flight]]:
        """Return what to try instead of a batch that failed; a crystal that fails alone is done."""
        if _is_out_of_memory(error):
            import torch

            n_sites = sum(flight.crystal.n_sites for flight in flights)
            self._largest = max(1, min(self._largest, n_sites // 2))
            log.warning("a batch of %d sites does not fit; halved", n_sites)
            torch.cuda.empty_cache()
        if len(flights) == 1:
            reason = f"{type(error).__name__}: {error}"
            found[flights[0].index] = flights[0].failed(reason)
            return []
        middle = len(flights) // 2
        return [flights[:middle], flights[middle:]]

    def _settle(self, batch: _Batch, found: dict[int, Relaxation]) -> bool:
        """Take the finished out of a batch; False if none is left."""
        now = _Now.of(batch)
        settings = self._relaxer
        left = []
        for place, flight in enumerate(batch.flights):
            converged = now.fmax[place] < settings.fmax_ev_per_ang
            capped = flight.n_steps >= settings.max_steps or flight.seconds > settings.max_seconds
            reason = now.problem(place, closely=converged or capped or flight.n_steps % 10 == 0)
            if reason:
                found[flight.index] = flight.failed(reason)
            elif converged or capped:
                found[flight.index] = Relaxation(
                    now.crystal(place),
                    energy=now.energies[place],
                    initial_energy=flight.initial_energy,
                    converged=converged,
                    n_steps=flight.n_steps,
                    seconds=flight.seconds,
                )
            else:
                left.append(place)
        if left and len(left) < len(batch.flights):
            rest = batch.part(left)
            batch.state, batch.flights = rest.state, rest.flights
        return bool(left)


@dataclass(frozen=True)
class _Now:
    """A batch as numbers on the CPU.

    Attributes:
        starts: The crystals as they came.
        lattices: (B, 3, 3), rows, Å, right-handed.
        positions: (N, 3) of each crystal, Å.
        energies: eV per cell.
        fmax: Largest force on a site or on the cell, eV/Å; infinite if any is not finite.
    """

    starts: list[Crystal]
    lattices: NDArray[np.float64]
    positions: list[NDArray[np.float64]]
    energies: list[float]
    fmax: list[float]

    @classmethod
    def of(cls, batch: _Batch) -> _Now:
        import torch

        state, starts = batch.state, [flight.crystal for flight in batch.flights]
        forces = _finite_or_infinite(state.forces.detach().norm(dim=1))
        of_sites = torch.zeros_like(state.energy).scatter_reduce(
            0, state.system_idx, forces, reduce="amax"
        )
        of_cells = _finite_or_infinite(state.cell_forces.detach().norm(dim=2)).amax(dim=1)
        positions = state.positions.detach().double().cpu().numpy()
        ends = np.cumsum([crystal.n_sites for crystal in starts])[:-1]
        return cls(
            starts,
            state.row_vector_cell.detach().double().cpu().numpy(),
            np.split(positions, ends),
            state.energy.detach().double().cpu().tolist(),
            torch.maximum(of_sites, of_cells).double().cpu().tolist(),
        )

    def crystal(self, place: int) -> Crystal:
        """Return a crystal with the handedness, site order and oxidation states it came with."""
        start, lattice = self.starts[place], self.lattices[place]
        frac = self.positions[place] @ np.linalg.inv(lattice)
        sign = 1.0 if np.linalg.det(start.lattice) > 0 else -1.0
        return Crystal(sign * lattice, sign * frac, start.numbers, start.oxidation)

    def problem(self, place: int, *, closely: bool) -> str:
        """Return how a crystal left physics, empty if it did not.

        Args:
            closely: Look at distances too, which takes longer than the rest together.
        """
        if not np.isfinite([self.energies[place], self.fmax[place]]).all():
            return "energy or forces are not finite"
        reason = burst_cell(self.starts[place], self.lattices[place])
        return reason or (collapse(self.crystal(place)) if closely else "")


def _finite_or_infinite(norms: Any) -> Any:  # torch tensors
    """Return norms in which what is no number is infinite: a maximum may pass over NaN."""
    return norms.nan_to_num(nan=float("inf"))


def _joined(batch: _Batch, fresh: _Batch) -> _Batch:
    from torch_sim.state import concatenate_states

    return _Batch(concatenate_states([batch.state, fresh.state]), [*batch.flights, *fresh.flights])


def _right_handed(crystal: Crystal) -> Crystal:
    """Return the crystal on inverted lattice vectors if they are left-handed, sites in place.

    torch-sim takes the determinant of the cell for its volume, sign and all.
    """
    if np.linalg.det(crystal.lattice) > 0:
        return crystal
    return Crystal(-crystal.lattice, -crystal.frac, crystal.numbers)


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    told = isinstance(error, torch.OutOfMemoryError | MemoryError)
    # The CPU's allocator has no error class of its own.
    return told or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
