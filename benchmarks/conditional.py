"""How often a model writes what it is asked for, by kind of request, within stated tolerances.

| request | values | success |
|---|---|---|
| density | 2, 3, 4.5, 6, 8, 11 g/cm³ | within 5 % |
| hhi | 1.5, 2, 3, 4, 5 thousand | within 0.5 |
| space_group | all with at least 100 training crystals | that one, by spglib at 0.01 and 0.1 Å |
| formula | 30 of MP-20's validation set | that reduced formula |
| system | of its validation set, unknown in training: 9 each of 3, 4, 5 elements | exactly these |
| density x group | 3, 5, 8 g/cm³ times 225, 194, 62 | both, at 0.1 Å |

No rule helps: the model is asked, and what it writes is measured as sampled. A sample that does not
finish is a failure.

    python benchmarks/conditional.py --quick
    python benchmarks/conditional.py --model default -n 20 --guidance 1 2

Prints a Markdown table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from matgen import Model
from matgen.catalog import Catalog
from matgen.crystal.composition import chemical_system, reduced_formula
from matgen.crystal.properties import density, hhi
from matgen.crystal.symmetry import LOOSE_ANG, TIGHT_ANG, space_group
from matgen.evaluation.intervals import wilson
from matgen.records import Crystal, PropertyValue
from matgen_datasets.mp_le20 import MpLe20

if TYPE_CHECKING:
    from matgen.roles.dataset import DatasetSource

Request = Mapping[str, PropertyValue]
Success = Callable[[Crystal, Request], bool]

COMMON = 100
"""Training crystals from which on a space group is asked for."""


@dataclass(frozen=True)
class Kind:
    """One kind of request.

    Attributes:
        successes: Name of a way to count to what decides.
    """

    requests: tuple[Request, ...]
    successes: Mapping[str, Success]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("-n", type=int, default=20, help="samples of each value")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    if options.quick:
        options.n, options.guidance = 1, [1.0]
    started = time.perf_counter()
    model = Model.load(options.model, device="cpu")
    dataset = Catalog.load().restore(model.run.info["dataset"])
    assert isinstance(dataset, MpLe20)
    figures: dict[str, float] = {}
    lines = ["| request | values | counted | " + " | ".join(
        f"guidance {weight:g}" for weight in options.guidance
    ) + " |"]  # fmt: skip
    lines.append("|---|---|---|" + "---|" * len(options.guidance))
    for name, kind in kinds(dataset).items():
        cells: dict[str, list[str]] = {way: [] for way in kind.successes}
        for weight in options.guidance:
            drawn = list(samples(model, kind.requests, options.n, weight))
            for way, success in kind.successes.items():
                good = [crystal is not None and success(crystal, r) for crystal, r in drawn]
                rate = float(np.mean(good))
                low, high = wilson(sum(good), len(good))
                cells[way].append(f"{100 * rate:.1f} ({100 * low:.1f}–{100 * high:.1f})")
                key = f"{name}_{way}".replace(" ", "_").replace(".", "")
                figures[f"{key}_at_guidance_{weight:g}"] = round(rate, 4)
        for way, told in cells.items():
            lines.append(f"| {name} | {len(kind.requests)} | {way} | " + " | ".join(told) + " |")
    print("\n".join(lines))
    print(json.dumps({
        **figures, "n_per_value": options.n, "model": options.model,
        "seconds": time.perf_counter() - started,
    }))  # fmt: skip


def samples(
    model: Model, requests: Sequence[Request], n: int, weight: float
) -> Iterator[tuple[Crystal | None, Request]]:
    """Yield n crystals for each request, None where one did not finish."""
    for place, request in enumerate(requests):
        guidance = None if weight == 1.0 else weight
        for sample in model.sample(n, conditions=request, guidance=guidance, seed=place):
            yield sample.crystal, request


def kinds(dataset: DatasetSource) -> dict[str, Kind]:
    """Return the kinds of requests for a model that was trained on a dataset."""
    train = [record.crystal for record in dataset.records("train")]
    val = [record.crystal for record in dataset.records("val")]
    groups = Counter(
        int(record.properties["space_group"])
        for record in dataset.records("train")
        if "space_group" in record.properties
    )
    common = sorted(group for group, count in groups.items() if count >= COMMON)
    known = {chemical_system(crystal.numbers) for crystal in train}
    unknown = sorted({chemical_system(crystal.numbers) for crystal in val} - known)
    rng = np.random.default_rng(0)
    systems = [
        system
        for n_elements in (3, 4, 5)
        for system in _some(rng, [s for s in unknown if s.count("-") == n_elements - 1], 9)
    ]
    formulas = _some(rng, sorted({reduced_formula(crystal) for crystal in val}), 30)
    both = tuple({"density": d, "space_group": g} for d in (3.0, 5.0, 8.0) for g in (225, 194, 62))
    return {
        "density": Kind(
            tuple({"density": value} for value in (2.0, 3.0, 4.5, 6.0, 8.0, 11.0)),
            {"within 5 %": has_density},
        ),
        "hhi": Kind(
            tuple({"hhi": value} for value in (1.5, 2.0, 3.0, 4.0, 5.0)), {"within 0.5": has_hhi}
        ),
        "space_group": Kind(
            tuple({"space_group": group} for group in common),
            {"0.01 Å": has_group(TIGHT_ANG), "0.1 Å": has_group(LOOSE_ANG)},
        ),
        "formula": Kind(
            tuple({"reduced_formula": formula} for formula in formulas),
            {"exact": lambda crystal, r: reduced_formula(crystal) == r["reduced_formula"]},
        ),
        "system": Kind(
            tuple({"chemical_system": system} for system in systems),
            {"exact": lambda c, r: chemical_system(c.numbers) == r["chemical_system"]},
        ),
        "density x group": Kind(
            both,
            {"both": lambda c, r: has_density(c, r) and has_group(LOOSE_ANG)(c, r)},
        ),
    }


def _some(rng: np.random.Generator, values: Sequence[str], n: int) -> list[str]:
    return [values[place] for place in rng.permutation(len(values))[:n].tolist()]


def has_density(crystal: Crystal, request: Request) -> bool:
    """Whether the density is within 5 % of what was asked."""
    return math.isclose(density(crystal), float(request["density"]), rel_tol=0.05)


def has_hhi(crystal: Crystal, request: Request) -> bool:
    """Whether the HHI is within 0.5 thousand of what was asked."""
    index = hhi(crystal, "production")
    return index is not None and abs(index / 1000 - float(request["hhi"])) <= 0.5


def has_group(symprec: float) -> Success:
    """Return whether the space group at a tolerance, Å, is what was asked."""

    def has(crystal: Crystal, request: Request) -> bool:
        return space_group(crystal, symprec=symprec) == request["space_group"]

    return has


if __name__ == "__main__":
    main()
