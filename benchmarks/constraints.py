"""What rules do to the samples of the shipped model, and what they cost.

For each set of rules, alone or with the condition of the same meaning: the mean and median of
``log_mass`` (the log of the probability that the model gave to what was allowed), sites, attempts
per sample, samples that never finished, samples whose sites are more than 0.5 Å apart, and the
milliseconds that the rules take per step of a batch, on one thread.

    python benchmarks/constraints.py --quick
    python benchmarks/constraints.py -n 500
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from matgen.asking import checked_request, parse_constraints, with_rules
from matgen.catalog import Catalog
from matgen.crystal.checks import check_crystal
from matgen.errors import BadCrystal, CrystalError
from matgen.generation.constraints import bound
from matgen.generation.decoder import Request
from matgen.generation.grammar import Intersection
from matgen.generation.model_decoder import ModelDecoder
from matgen.generation.streams import Streams
from matgen.records import Crystal
from matgen.roles.representation import Grammar, GrammarState
from matgen.run_dir import Run, load_model, shipped_model

if TYPE_CHECKING:
    from torch import Tensor

    from matgen.nn.crystal_model import CrystalModel


@dataclass(frozen=True)
class Case:
    """A set of rules.

    Attributes:
        rules: As ``--constraint`` reads them.
        conditions: Asked for beside them.
        joins: Whether the rules become conditions as well, as the command has it.
    """

    rules: tuple[str, ...]
    conditions: Mapping[str, str] = field(default_factory=dict)
    joins: bool = False

    @property
    def told(self) -> str:
        """The case in a table."""
        asked = [f"{k} {v} asked" for k, v in self.conditions.items()]
        also = ["as conditions, too"] if self.joins else []
        return ", ".join([*self.rules, *asked, *also]) or "none"


CASES = (
    Case(()),
    Case(("unseen",)),
    Case(("exclude=O,Fe,F",)),
    Case(("n_sites=8",), joins=True),
    Case(("n_sites=4..12",)),
    Case(("n_elements=3",)),
    Case(("charge_neutral",)),
    Case(("charge_neutral=strict",)),
    Case(("elements=Li,Fe,O",)),
    Case(("elements=Li,Fe,O",), {"chemical_system": "Li,Fe,O"}),
    Case(("chemical_system=Li-Fe-O",)),
    Case(("chemical_system=Li-Fe-O",), joins=True),
    Case(("formula=LiFeO2",)),
    Case(("formula=LiFeO2",), joins=True),
    Case(("formula=SrTiO3",), joins=True),
    Case((), {"reduced_formula": "SrTiO3"}),
    Case(("contains=Fe2O",)),
    Case(("contains=Fe2O",), {"chemical_system": "Li-Fe-O"}),
    Case(("unseen", "charge_neutral", "n_elements=2", "n_sites=2..4")),
    Case(("min_distance=0.5",)),
    Case(("min_distance=1.0",)),
    Case(("lattice_system=cubic",)),
    Case(("lattice_system=monoclinic",)),
)
QUICK = (0, 6, 13, 19)


class Timed(Grammar):
    """A rule whose time is counted."""

    def __init__(self, rule: Grammar) -> None:
        self._rule = rule
        self.seconds = 0.0
        self.steps = 0

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Those of the rule."""
        return self._rule.kind_names

    def begin(self, rows: int, device: str) -> GrammarState:
        """Return the rule's."""
        return self._rule.begin(rows, device)

    def allowed(self, state: GrammarState) -> Tensor:
        """Return the rule's mask."""
        start = time.perf_counter()
        mask = self._rule.allowed(state)
        self.seconds += time.perf_counter() - start
        self.steps += 1
        return mask

    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        """Return the rule's next state."""
        start = time.perf_counter()
        following = self._rule.advance(state, ids, values)
        self.seconds += time.perf_counter() - start
        return following

    def finished(self, state: GrammarState) -> Tensor:
        """Return the rule's."""
        return self._rule.finished(state)

    def kinds(self, state: GrammarState) -> Tensor:
        """Return the rule's."""
        return self._rule.kinds(state)


def measured(
    case: Case, model: CrystalModel, run: Run, catalog: Catalog, n: int, batch: int
) -> dict[str, float]:
    """Return the figures of one case."""
    representation, conditions = run.spec.representation, run.spec.conditions
    rules = parse_constraints(case.rules, catalog, run)
    asked = checked_request(case.conditions, conditions)
    (request,) = with_rules([asked], rules if case.joins else (), conditions)
    timed = [Timed(rule) for rule in bound(rules, representation, run.spec.ordering)]
    prompt = representation.prompt({})
    sampler = catalog.build("sampler", "ancestral", {"batch_size": batch})
    drafts = list(
        sampler.draw(  # type: ignore[attr-defined]  # the role says so
            ModelDecoder(model, max_tokens=representation.max_tokens),
            Intersection(representation.grammar(), timed),
            [Request(i, prompt, request) for i in range(n)],  # type: ignore[arg-type]  # no ranges here
            max_tokens=representation.max_tokens,
            streams=Streams(3),
        )
    )
    finished = [draft for draft in drafts if draft.finished]
    decoded = representation.decode_batch([draft.tokens for draft in finished])
    crystals = [crystal for crystal in decoded if not isinstance(crystal, CrystalError)]
    mass = np.array([draft.log_mass for draft in finished])
    seconds, steps = sum(rule.seconds for rule in timed), max((r.steps for r in timed), default=0)
    return {
        "log_mass_mean": float(mass.mean()),
        "log_mass_median": float(np.median(mass)),
        "sites": float(np.mean([crystal.n_sites for crystal in crystals])),
        "attempts": sum(draft.attempts for draft in drafts) / n,
        "failed": n - len(finished),
        "apart": apart(crystals) / n,
        "neutral": sum(total_charge(crystal) == 0 for crystal in crystals) / n,
        "as_asked": as_asked(crystals, request) / n,
        "ms_per_step": 1000 * seconds / steps if steps else 0.0,
    }


def apart(crystals: Sequence[Crystal]) -> int:
    """Return how many crystals have no two sites within 0.5 Å."""
    n = 0
    for crystal in crystals:
        try:
            check_crystal(crystal)
        except BadCrystal:
            continue
        n += 1
    return n


def total_charge(crystal: Crystal) -> int:
    """Return the sum of the oxidation states that were written."""
    assert crystal.oxidation is not None
    return int(crystal.oxidation.sum())


def as_asked(crystals: Sequence[Crystal], request: Mapping[str, object]) -> int:
    """Return how many crystals have the formula that is asked for; all where none is."""
    from matgen.crystal.composition import reduced_formula

    wanted = request.get("reduced_formula")
    return sum(wanted is None or reduced_formula(c.numbers) == wanted for c in crystals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=500, help="samples per set of rules")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    torch.set_num_threads(1)
    n = 100 if options.quick else options.n
    cases = [CASES[i] for i in QUICK] if options.quick else CASES
    catalog = Catalog.load()
    model, run = load_model(shipped_model(), catalog, device="cpu")
    found = {}
    for case in cases:
        figures = measured(case, model, run, catalog, n, min(options.batch, n))
        found[case.told] = {name: round(value, 3) for name, value in figures.items()}
        print(f"{case.told:60s}", found[case.told])
    print(json.dumps({"rules": found, "n": n, "load_average": round(os.getloadavg()[0], 2)}))


if __name__ == "__main__":
    main()
