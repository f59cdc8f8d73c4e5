r"""Fit the elemental reference energies that turn a potential's energies into formation energies.

Least squares of (single-point energy - DFT formation energy) on the element counts of crystals of
the Materials Project. Energies of a raw potential (``pbe+u``) are MP2020-corrected first, as the
hull does; those of a corrected one are taken as they are::

    python tools/fit_elemental_references.py mp_le20.parquet --relaxer sevennet \
        --energies sevennet.jsonl --out plugins/matgen_hulls/data/elemental_references.json

The Parquet file needs the columns ``numbers``, ``lattice`` (9, rows, Å), ``frac_coords``,
``formation_energy_per_atom`` (eV/atom) and ``energy_above_hull_source``. Rows whose labels are on
the legacy correction scale (``mp2019``) are left out: the hull is on the MP2020 scale. Your own
potential: the same with ``--out mine.json``, then ``--set hull.references=mine.json``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from matgen.atomic import read_json, write_json
from matgen.catalog import Catalog
from matgen.elements import symbols
from matgen.errors import OutsideHull
from matgen.evaluation.energy_corrections import RAW_SCALE, Scheme, corrected
from matgen.evaluation.energy_log import EnergyLog, energies, energy_settings, potential_of
from matgen.records import Crystal
from matgen.roles.relaxer import Relaxer

N_ELEMENTS = 119
ROWS_PER_ELEMENT = 45
N_HELD_OUT = 500
SEED = 20260101


def main() -> None:
    """Parse the command line, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crystals", type=Path, help="Parquet file of crystals with DFT labels")
    parser.add_argument("--relaxer", default="chgnet", help="a potential")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4500, help="crystals in all")
    parser.add_argument("--max-sites", type=int, default=20, help="largest cell")
    parser.add_argument("--energies", type=Path, help="keep energies here, and go on from there")
    arguments = parser.parse_args()

    relaxer = cast("Relaxer", Catalog.load().build("relaxer", arguments.relaxer, {"max_steps": 0}))
    crystals, formation = _labelled(arguments.crystals, arguments.rows, arguments.max_sites)
    scheme: Scheme = "mp2020" if relaxer.energy_scale == RAW_SCALE else "none"
    totals = _per_atom(crystals, relaxer, scheme, arguments.energies)
    known = np.isfinite(totals)
    counts = np.zeros((len(crystals), N_ELEMENTS))
    for row, crystal in enumerate(crystals):
        np.add.at(counts[row], crystal.numbers, 1)
    counts, target = counts[known], (totals - formation)[known]
    fractions = counts / counts.sum(axis=1)[:, None]

    held_out = _held_out(counts)
    trial = _least_squares(fractions[~held_out], target[~held_out])
    miss = target[held_out] - fractions[held_out] @ trial
    references = _least_squares(fractions, target)
    _write(
        arguments.out,
        {
            "relaxer": relaxer.name,
            "settings": energy_settings(relaxer),
            "correction": scheme,
            "package": potential_of(relaxer)["package"],
            "fitted_on": (
                f"{known.sum()} crystals of at most {arguments.max_sites} sites of "
                f"{arguments.crystals.name} (Materials Project, CC BY 4.0)"
            ),
            "held_out": {
                "n": int(held_out.sum()),
                "bias_ev_per_atom": round(float(miss.mean()), 6),
                "mae_ev_per_atom": round(float(np.abs(miss).mean()), 6),
            },
            "references_ev_per_atom": {
                symbols[number]: round(float(references[number]), 6)
                for number in np.flatnonzero(counts.any(axis=0)).tolist()
            },
        },
    )
    _say(
        f"{known.sum()} of {len(crystals)} crystals; held out {held_out.sum()}: "
        f"bias {1000 * miss.mean():+.1f} meV/atom, MAE {1000 * np.abs(miss).mean():.1f} meV/atom"
    )


def _per_atom(
    crystals: list[Crystal], relaxer: Relaxer, scheme: Scheme, kept: Path | None
) -> NDArray[np.float64]:
    """Return each crystal's energy as it stands on the MP2020 scale, eV/atom; NaN without one."""
    log = EnergyLog(kept, potential_of(relaxer)) if kept else None
    totals = np.full(len(crystals), np.nan)
    found = energies(crystals, relaxer, device="cpu", log=log, observer=_progress)
    for row, (crystal, one) in enumerate(zip(crystals, found, strict=True)):
        if one.energy_ev is None:
            continue
        try:
            totals[row] = corrected(crystal, one.energy_ev, scheme) / crystal.n_sites
        except OutsideHull:
            continue
    return totals


def _progress(done: int, total: int) -> None:
    if done % 500 == 0:
        _say(f"{done} of {total}")


def _labelled(path: Path, n_rows: int, max_sites: int) -> tuple[list[Crystal], NDArray[np.float64]]:
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
        if label is not None and source != "mp2019" and len(table["numbers"][row]) <= max_sites
    ]
    order = rng.permutation(usable)
    seen = np.zeros(N_ELEMENTS, dtype=int)
    chosen: list[int] = []
    spare: list[int] = []
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
    return np.asarray(np.linalg.lstsq(fractions, target, rcond=None)[0], dtype=np.float64)


def _write(path: Path, fit: dict[str, Any]) -> None:  # JSON
    document = read_json(path) if path.exists() else {"format": 2, "fits": []}
    had = cast("list[dict[str, Any]]", document["fits"])
    same = ("relaxer", "settings", "correction")
    others = [one for one in had if any(one[part] != fit[part] for part in same)]
    write_json(path, {"format": 2, "fits": [*others, fit]})


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
