"""CHGNet's energy, forces and stress from one backward pass.

CHGNet's own calculator goes back through the network twice, once for the forces and once for the
stress, and both times keeps what a training step would need. Here positions and strain share one
pass that keeps nothing: 1.6 times as fast (``benchmarks/chgnet_gradients.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes

if TYPE_CHECKING:
    from ase import Atoms
    from chgnet.model.model import CHGNet


class ChgnetCalculator(Calculator):
    """Total energy (eV), forces (eV/Å) and stress (3 × 3, eV/Å³) by CHGNet."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 - ase's

    def __init__(self, model: CHGNet, device: str) -> None:
        """Wrap a loaded network that is on its device."""
        super().__init__()  # type: ignore[no-untyped-call]  # ase's
        self._model = model.eval()
        self._device = device

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,  # ase gives a list; all are calculated at once
        system_changes: Any = all_changes,
    ) -> None:
        """Fill ``results``."""
        from pymatgen.io.ase import AseAtomsAdaptor

        super().calculate(atoms, properties or ["energy"], system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        structure = AseAtomsAdaptor.get_structure(self.atoms)
        graph = self._model.graph_converter(structure).to(self._device)
        cell = graph.lattice
        strain = torch.zeros(3, 3, dtype=cell.dtype, device=cell.device, requires_grad=True)
        frac = graph.atom_frac_coord.detach().requires_grad_()
        graph.atom_frac_coord = frac
        graph.lattice = cell @ (torch.eye(3, dtype=cell.dtype, device=cell.device) + strain)
        predicted = self._model([graph], task="e")["e"].sum()
        energy = predicted * len(structure) if self._model.is_intensive else predicted
        # An isolated atom has no bond that would move it.
        pulls = torch.autograd.grad(energy, (frac, strain), allow_unused=True)
        by_frac, by_strain = (
            np.zeros(tuple(x.shape)) if pull is None else pull.detach().cpu().double().numpy()
            for x, pull in zip((frac, strain), pulls, strict=True)
        )
        # dE/dx = dE/df df/dx, and f = x L⁻¹ with lattice vectors in rows.
        inverse = np.linalg.inv(self.atoms.cell.array)
        total = float(energy.detach())
        self.results = {
            "energy": total,
            "free_energy": total,
            "forces": -by_frac @ inverse.T,
            "stress": by_strain / self.atoms.get_volume(),
        }
