"""What the shipped model does with what it is asked for: achieved against requested.

Samples grids of densities, space groups and reduced formulas, without and with guidance, measures
the crystals (space groups by spglib at symprec 0.1) and draws a figure.

    python benchmarks/steering.py --quick
    python benchmarks/steering.py -n 200 --figure docs/figures/steering.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from matgen import Model
from matgen.crystal.symmetry import LOOSE_ANG, space_group
from matgen.records import PropertyValue, Sample

DENSITIES = (2.0, 3.0, 4.5, 6.0, 8.0, 11.0)
SPACE_GROUPS = (225, 221, 194, 166, 139, 62)
FORMULAS = ("NaCl", "SrTiO3", "MgAl2O4", "LiFeO2", "Bi2Te3", "GdFe2")
WEIGHTS = (1.0, 2.0)


def measured(sample: Sample, label: str) -> PropertyValue | None:
    """Return what a sample shows of a property."""
    if sample.crystal is None:
        return None
    if label == "space_group":
        return space_group(sample.crystal, symprec=LOOSE_ANG)
    return sample.achieved.get(label)


def asked(
    model: Model, wanted: Mapping[str, PropertyValue], weight: float, n: int
) -> list[tuple[PropertyValue, PropertyValue | None]]:
    """Return what n samples were asked for and what they show."""
    (label,) = wanted
    guidance = None if weight == 1.0 else weight
    samples = model.sample(n, conditions=wanted, guidance=guidance)
    return [(sample.requested[label], measured(sample, label)) for sample in samples]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=100, help="samples per value")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    n = 16 if options.quick else options.n
    weights = WEIGHTS[:1] if options.quick else WEIGHTS
    model = Model.load(device="cpu")
    densities: dict[float, list[list[float]]] = {}
    shares: dict[str, dict[float, list[float]]] = {"space_group": {}, "reduced_formula": {}}
    for weight in weights:
        densities[weight] = [
            [float(got) for _, got in asked(model, {"density": d}, weight, n) if got is not None]
            for d in DENSITIES
        ]
        for label, values in (("space_group", SPACE_GROUPS), ("reduced_formula", FORMULAS)):
            shares[label][weight] = [
                sum(got == want for want, got in asked(model, {label: value}, weight, n)) / n
                for value in values
            ]
    if options.figure is not None:
        draw(options.figure, densities, shares, n)
    told = {
        f"{name}_at_guidance_{weight:g}": round(value, 3)
        for weight in weights
        for name, value in (
            ("space_group_reached", float(np.mean(shares["space_group"][weight]))),
            ("formula_reached", float(np.mean(shares["reduced_formula"][weight]))),
            (
                "density_median_relative_error",
                float(
                    np.mean(
                        [
                            np.median(np.abs(np.array(got) / want - 1))
                            for got, want in zip(densities[weight], DENSITIES, strict=True)
                        ]
                    )
                ),
            ),
        )
    }
    print(json.dumps({**told, "n_per_value": n, "model": str(model.run.folder.name)}))


def draw(
    path: Path,
    densities: Mapping[float, list[list[float]]],
    shares: Mapping[str, Mapping[float, list[float]]],
    n: int,
) -> None:
    """Draw densities as boxes over what was asked, and the shares that reached what was asked."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    colours = ("tab:blue", "tab:orange")
    left.plot([0, 13], [0, 13], color="0.7", linewidth=1)
    for shift, colour, (weight, boxes) in zip(
        (-0.15, 0.15), colours, densities.items(), strict=False
    ):
        places = [d + shift for d in DENSITIES]
        drawn = left.boxplot(
            boxes, positions=places, widths=0.25, showfliers=False, manage_ticks=False
        )
        for part in ("boxes", "medians", "whiskers", "caps"):
            plt.setp(drawn[part], color=colour)
        left.plot([], [], color=colour, label=f"guidance {weight:g}")
    left.set_xlabel("density asked for, g/cm³")
    left.set_ylabel("density of the samples, g/cm³")
    left.set_xlim(1, 12)
    left.set_ylim(0, 14)
    left.legend()
    for axis, label, names in (
        (middle, "space_group", [str(g) for g in SPACE_GROUPS]),
        (right, "reduced_formula", list(FORMULAS)),
    ):
        for shift, colour, (weight, values) in zip(
            (-0.2, 0.2), colours, shares[label].items(), strict=False
        ):
            axis.bar(np.arange(len(names)) + shift, values, 0.4, color=colour, label=f"{weight:g}")
        axis.set_xticks(range(len(names)), names, rotation=30)
        axis.set_ylim(0, 1)
        axis.set_xlabel(f"{label.replace('_', ' ')} asked for")
        axis.set_ylabel("share that has it")
    figure.suptitle(f"shipped model, {n} samples per value, temperature 1")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
