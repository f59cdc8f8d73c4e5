"""Fit the elemental reference energies that turn CHGNet's energies into formation energies.

Least squares of (single-point energy - DFT formation energy) on the element counts of crystals of
the Materials Project. Writes ``plugins/matgen_hulls/data/elemental_references.json``::

    python tools/fit_elemental_references.py mp_le20.parquet \
        --out plugins/matgen_hulls/data/elemental_references.json

The Parquet file needs the columns ``numbers``, ``lattice`` (9, rows, Å), ``frac_coords``,
``formation_energy_per_atom`` (eV/atom) and ``energy_above_hull_source``. Rows whose labels are on
the legacy correction scale (``mp2019``) are left out: the hull is on the MP2020 scale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from matgen.atomic import read_json, write_json
from matgen.elements import symbols
from matgen.records import Crystal

N_ELEMENTS = 119
ROWS_PER_ELEMENT = 45
N_HELD_OUT = 500
BATCH = 32
SEED = 20260101


def main() -> None:
    """Parse the command line, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crystals", type=Path, help="Parquet file of crystals with DFT labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4500, help="crystals in all")
    arguments = parser.parse_args()

    crystals, formation_ev_per_atom = _labelled(arguments.crystals, arguments.rows)
    counts = np.zeros((len(crystals), N_ELEMENTS))
    for row, crystal in enumerate(crystals):
        np.add.at(counts[row], crystal.numbers, 1)
    n_sites = counts.sum(axis=1)
    fractions = counts / n_sites[:, None]
    energy_ev_per_atom = np.fromiter(_single_points(crystals), dtype=np.float64)
    target = energy_ev_per_atom - formation_ev_per_atom

    held_out = _held_out(counts)
    trial = _least_squares(fractions[~held_out], target[~held_out])
    miss = target[held_out] - fractions[held_out] @ trial
    references = _least_squares(fractions, target)
    present = np.flatnonzero(counts.any(axis=0))
    _write(
        arguments.out,
        references=references,
        present=present,
        n_crystals=len(crystals),
        source=arguments.crystals.name,
        bias=float(miss.mean()),
        mae=float(np.abs(miss).mean()),
        n_held_out=int(held_out.sum()),
    )
    _say(
        f"{len(crystals)} crystals, {len(present)} elements; held out {held_out.sum()}: "
        f"bias {1000 * miss.mean():+.1f} meV/atom, MAE {1000 * np.abs(miss).mean():.1f} meV/atom"
    )


def _labelled(path: Path, n_rows: int) -> tuple[list[Crystal], NDArray[np.float64]]:
    """Choose rows so that every element has enough, then fill up at random."""
    table = pq.read_table(path).to_pydict()
    rng = np.random.default_rng(SEED)
    usable = [
        row
        for row, (label, source) in enumerate(
            zip(
                table["formation_energy_per_atom"],
                table["energy_above_hull_source"],
                strict=True,
            )
        )
        if label is not None and source != "mp2019"
    ]
    order = rng.permutation(usable)
    seen = np.zeros(N_ELEMENTS, dtype=int)
    chosen, spare = [], []
    for row in order:
        elements = np.unique(table["numbers"][row])
        if seen[elements].min() < ROWS_PER_ELEMENT and len(chosen) < n_rows:
            seen[elements] += 1
            chosen.append(int(row))
        else:
            spare.append(int(row))
    chosen = sorted(chosen + spare[: max(0, n_rows - len(chosen))])
    crystals = [
        Crystal(
            np.array(table["lattice"][row], dtype=np.float64).reshape(3, 3),
            np.array(table["frac_coords"][row], dtype=np.float64).reshape(-1, 3),
            np.array(table["numbers"][row], dtype=np.int64),
        )
        for row in chosen
    ]
    labels = np.array([table["formation_energy_per_atom"][row] for row in chosen])
    return crystals, labels.astype(np.float64)


def _single_points(crystals: list[Crystal]) -> Iterator[float]:
    """Yield CHGNet's energy of each crystal as it stands, eV/atom."""
    from chgnet.model import CHGNet

    model = CHGNet.load(verbose=False, use_device="cpu")
    model.graph_converter.set_isolated_atom_response("ignore")
    for start in range(0, len(crystals), BATCH):
        structures = [crystal.to_structure() for crystal in crystals[start : start + BATCH]]
        found = model.predict_structure(structures, task="e", batch_size=BATCH)
        for prediction in [found] if isinstance(found, dict) else found:
            yield float(prediction["e"])
        if start % (20 * BATCH) == 0:
            _say(f"{start} of {len(crystals)}")


def _held_out(counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Choose test rows whose elements all stay in at least twenty others."""
    rng = np.random.default_rng(SEED + 1)
    left = (counts > 0).sum(axis=0)
    held_out = np.zeros(len(counts), dtype=bool)
    for row in rng.permutation(len(counts)):
        elements = np.flatnonzero(counts[row])
        if held_out.sum() < N_HELD_OUT and left[elements].min() > 20:
            held_out[row] = True
            left[elements] -= 1
    return held_out


def _least_squares(
    fractions: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (119,) reference energies, eV/atom; meaningless where an element never occurs."""
    solution: NDArray[np.float64] = np.linalg.lstsq(fractions, target, rcond=None)[0]
    return solution


def _write(
    path: Path,
    *,
    references: NDArray[np.float64],
    present: NDArray[np.int64],
    n_crystals: int,
    source: str,
    bias: float,
    mae: float,
    n_held_out: int,
) -> None:
    from importlib.metadata import version

    document = read_json(path) if path.exists() else {"format": 1, "relaxers": {}}
    relaxers = document["relaxers"]
    if not isinstance(relaxers, dict):
        raise TypeError(f"{path}: 'relaxers' is no object")
    relaxers["chgnet"] = {
        "energy_scale": "mp2020",
        "potential": f"chgnet {version('chgnet')}, model 0.3.0",
        "fitted_on": f"{n_crystals} crystals of {source} (Materials Project, CC BY 4.0)",
        "held_out": {"n": n_held_out, "bias_ev_per_atom": bias, "mae_ev_per_atom": mae},
        "references_ev_per_atom": {
            symbols[int(number)]: round(float(references[number]), 6) for number in present
        },
    }
    write_json(path, document)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
