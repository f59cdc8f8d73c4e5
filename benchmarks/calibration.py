r"""How far a potential's energies above the hull can be trusted: against DFT, out of sample.

Crystals of WBM (Wang, Botti and Marques 2021: element substitution, in no potential's usual
training set) with DFT energies above the whole MP2020 hull. The potential's distance from a hull
less the DFT one gives bias and error; "stable" at 0, 0.05 and 0.1 eV/atom by the potential against
"stable" by DFT gives precision and recall. From the shipped hull, the error contains what that hull
misses: it is what a report that uses it is wrong by. With ``--whole-hull``, the same from the whole
one; with ``--formulas``, a text file of sampled compositions, how far the two hulls are apart.

One line of JSON. ``--out`` puts the figures where the hulls plugin reads them::

    python benchmarks/calibration.py --quick
    python benchmarks/calibration.py --crystals wbm_10k.parquet --rows 1500 --relaxer sevennet \
        --energies sevennet-wbm.jsonl --whole-hull hull_mp2020.parquet \
        --out plugins/matgen_hulls/data/calibration.json

Crystals stay as DFT relaxed them; ``--steps 200`` relaxes them with the potential first.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from matgen.atomic import read_json, write_json
from matgen.catalog import Catalog
from matgen.errors import OutsideHull
from matgen.evaluation.energy_log import EnergyLog, energies, energy_settings, potential_of
from matgen.io.crystal_table import CrystalTable
from matgen.io.hull_file import plain_fractions
from matgen.records import Crystal
from matgen.roles.hull import StableCalls
from matgen.roles.relaxer import Relaxer
from matgen_hulls.fits import file_digest
from matgen_hulls.mp2020 import SHIPPED, Mp2020

QUICK = Path(__file__).parent / "calibration_wbm.parquet"
"""40 rows of WBM, CC BY 4.0 (Wang, Botti and Marques, npj Comput. Mater. 7, 12, 2021)."""
THRESHOLDS_EV = (0.0, 0.05, 0.1)
FAR_EV = 0.025


def main() -> None:
    options = _options()
    settings = {"max_steps": options.steps}
    relaxer = cast("Relaxer", Catalog.load().build("relaxer", options.relaxer, settings))
    crystals, dft = labelled(options.crystals, options.rows, options.seed)
    log = EnergyLog(options.energies, potential_of(relaxer)) if options.energies else None
    found = list(energies(crystals, relaxer, device="cpu", log=log, observer=_progress))
    hulls = {"shipped": SHIPPED}
    if options.whole_hull:
        hulls["whole"] = options.whole_hull
    figures: dict[str, Any] = {}
    written = []
    for label, path in hulls.items():
        hull = Mp2020(path="" if path == SHIPPED else str(path)).open(relaxer)
        distances = np.full(len(crystals), np.nan)
        for row, (crystal, one) in enumerate(zip(crystals, found, strict=True)):
            if one.energy_ev is not None:
                try:
                    distances[row] = hull.distance(crystal, one.energy_ev)
                except OutsideHull:
                    continue
        told = calibration(distances, dft)
        figures.update(_figures(told, label))
        written.append(
            {
                "relaxer": relaxer.name,
                "settings": energy_settings(relaxer),
                "package": potential_of(relaxer)["package"],
                "hull": label,
                "hull_digest": file_digest(path),
                "crystals": _said(options.crystals, relaxer),
                **told,
                "command": _command(),
            }
        )
    figures |= {"n_failed": sum(one.energy_ev is None for one in found)}
    apart = None
    if options.whole_hull and options.formulas:
        apart = hulls_apart(options.formulas, options.whole_hull)
        figures |= {f"hulls_apart_{name}": value for name, value in apart.items()}
    if options.out:
        _write(options.out, written, apart)
    figures |= {
        "relaxer": relaxer.name,
        "package": potential_of(relaxer)["package"],
        "steps": options.steps,
        "seed": options.seed,
        "processor": platform.processor() or platform.machine(),
    }
    print(json.dumps(figures))


def labelled(path: Path, n_rows: int, seed: int) -> tuple[list[Crystal], NDArray[np.float64]]:
    """Return crystals at random among those with DFT's energy above the hull, and that, eV/atom."""
    table = CrystalTable.read(path)
    above = np.asarray(table.properties["energy_above_hull"], dtype=np.float64)
    known = np.flatnonzero(np.isfinite(above))
    rng = np.random.default_rng(seed)
    chosen = known[np.sort(rng.permutation(len(known))[: n_rows or None])]
    return [table.crystal(int(row)) for row in chosen], above[chosen]


def calibration(distances: NDArray[np.float64], dft: NDArray[np.float64]) -> dict[str, Any]:
    """Return the figures of distances against DFT's; NaN distances are left out."""
    known = np.isfinite(distances)
    ours, true = distances[known], dft[known]
    miss = ours - true
    stable = [
        StableCalls(
            threshold,
            int((true <= threshold).sum()),
            int((ours <= threshold).sum()),
            int(((ours <= threshold) & (true <= threshold)).sum()),
        )
        for threshold in THRESHOLDS_EV
    ]
    return {
        "n": int(known.sum()),
        "bias_ev_per_atom": round(float(miss.mean()), 4),
        "mae_ev_per_atom": round(float(np.abs(miss).mean()), 4),
        "stable": [asdict(calls) for calls in stable],
    }


def hulls_apart(formulas: Path, whole_hull: Path) -> dict[str, Any]:
    """Return how much lower the whole hull lies than the shipped one at these compositions."""
    whole, shipped = Mp2020(path=str(whole_hull)).phases(), Mp2020().phases()
    apart = []
    for line in formulas.read_text(encoding="utf-8").split():
        fractions = plain_fractions(line, formulas.name)
        if fractions.keys() <= shipped.pure & whole.pure:
            apart.append(shipped.energy(fractions) - whole.energy(fractions))
    found = np.array(apart)
    return {
        "lower_by_ev_per_atom": round(float(found.mean()), 4),
        "share_over_25_mev": round(float((found > FAR_EV).mean()), 4),
        "n": len(found),
        "n_whole": whole.n_phases - len(whole.pure),
        "crystals": formulas.stem,
    }


def _figures(told: dict[str, Any], label: str) -> dict[str, Any]:
    rates = {
        f"{label}_{name}_at_{one.threshold_ev_per_atom:g}": value and round(value, 3)
        for one in (StableCalls(**calls) for calls in told["stable"])
        for name, value in (("precision", one.precision), ("recall", one.recall))
    }
    return {
        **rates,
        f"{label}_bias_mev_per_atom": round(1000 * told["bias_ev_per_atom"], 1),
        f"{label}_mae_mev_per_atom": round(1000 * told["mae_ev_per_atom"], 1),
        f"{label}_n": told["n"],
    }


def _said(crystals: Path, relaxer: Relaxer) -> str:
    geometry = (
        f"relaxed with the potential (at most {relaxer.max_steps} steps)"
        if relaxer.max_steps
        else "as DFT relaxed them"
    )
    return f"{crystals.stem} (element substitution, no corrected anions), {geometry}"


def _write(path: Path, written: list[dict[str, Any]], apart: dict[str, Any] | None) -> None:
    document = read_json(path) if path.exists() else {}
    had = cast("list[dict[str, Any]]", document.get("calibrations", []))
    same = ("relaxer", "settings", "hull", "crystals")
    kept = [one for one in had if all(any(one[k] != new[k] for k in same) for new in written)]
    write_json(
        path,
        {
            "format": 1,
            "calibrations": [*kept, *written],
            "shipped_against_whole": apart or document.get("shipped_against_whole"),
        },
    )


def _command() -> str:
    return " ".join(["python", "benchmarks/calibration.py", *(Path(a).name for a in sys.argv[1:])])


def _progress(done: int, total: int) -> None:
    if done % 100 == 0:
        sys.stderr.write(f"{done} of {total}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="40 crystals that come with it")
    parser.add_argument("--crystals", type=Path, default=QUICK, help="Parquet with DFT labels")
    parser.add_argument("--rows", type=int, default=0, help="crystals at random, 0 for all")
    parser.add_argument("--relaxer", default="chgnet")
    parser.add_argument("--steps", type=int, default=0, help="relaxation steps, 0: single points")
    parser.add_argument("--energies", type=Path, help="keep energies here, and go on from there")
    parser.add_argument("--whole-hull", type=Path, help="Parquet file of the whole MP2020 hull")
    parser.add_argument("--formulas", type=Path, help="compositions to compare the hulls at")
    parser.add_argument("--out", type=Path, help="calibration.json to put the figures into")
    parser.add_argument("--seed", type=int, default=20261125)
    options = parser.parse_args()
    if options.quick and options.crystals != QUICK:
        parser.error("--quick takes the crystals that come with it; leave out --crystals")
    return options


if __name__ == "__main__":
    main()
