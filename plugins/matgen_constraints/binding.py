"""Several rules over the species tokens of a model: one grammar, or why nothing obeys them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from matgen.errors import BadOptions
from matgen_constraints.budget import Budget, named
from matgen_constraints.exact_ahead import ExactAhead
from matgen_constraints.grammar import Columns, CompositionGrammar
from matgen_constraints.known_formulas import ELEMENT_CODES
from matgen_constraints.open_ahead import OpenAhead
from matgen_constraints.small_system import SmallSystem

if TYPE_CHECKING:
    from matgen.roles.ordering import ElementOrder
    from matgen.roles.representation import SpeciesTokens
    from matgen_constraints.grammar import LookAhead
    from matgen_constraints.rule import CompositionRule


def bound(
    rules: Sequence[CompositionRule], species: SpeciesTokens, element_order: ElementOrder = "none"
) -> CompositionGrammar:
    """Return the grammar of what all rules leave, written in an order of the elements.

    Raises:
        BadOptions: nothing is left; names the fewest rules that leave nothing, and says why.
    """
    grammar = _attempt(rules, species, element_order)
    if isinstance(grammar, CompositionGrammar):
        return grammar
    needed, reason = list(rules), grammar
    for rule in rules:
        fewer = [other for other in needed if other is not rule]
        if isinstance(without := _attempt(fewer, species, element_order), str):
            needed, reason = fewer, without
    told = " and ".join(rule.told for rule in needed)
    if len(needed) == 1:
        raise BadOptions(f"{told}: {reason}; change it")
    raise BadOptions(f"{told} contradict each other: {reason}; change or drop one of them")


def _attempt(
    rules: Sequence[CompositionRule], species: SpeciesTokens, element_order: ElementOrder
) -> CompositionGrammar | str:
    """Return the grammar, or why nothing is left."""
    budget = Budget.whole(species, element_order)
    for rule in rules:
        budget = rule.narrow(budget, species)
    if reason := _reason(budget):
        return reason
    if budget.formula is None:
        columns = Columns(species, budget.allowed, element_order)
        grammar = CompositionGrammar(species, columns, _look_ahead(columns, budget))
        nothing = "no choice of atoms and oxidation states in one cell is left"
        return grammar if _can_begin(grammar, columns) else nothing
    return _of_formula(budget.formula, budget, species)


def _look_ahead(columns: Columns, budget: Budget) -> LookAhead:
    """Return an exact look-ahead where it is small enough, else one that is nearly exact."""
    limits_elements = budget.neutrality != "free" and budget.n_elements != (1, budget.sites[1])
    if (budget.known or limits_elements) and SmallSystem.fits(columns, budget):
        return SmallSystem(columns, budget)
    return OpenAhead(columns, budget)


def _of_formula(
    formula: Mapping[int, int], budget: Budget, species: SpeciesTokens
) -> CompositionGrammar | str:
    """Return the grammar of a formula, the other rules having chosen among its multiples."""
    columns = Columns(species, formula, budget.element_order)
    formula_E = np.array([formula[z] for z in columns.numbers_E.tolist()], dtype=np.int64)
    n_atoms = int(formula_E.sum())
    least, most = budget.sites
    multiples = [k for k in range(1, most // n_atoms + 1) if k * n_atoms >= least]
    if not multiples:
        cells = f"its cells have {n_atoms}, {2 * n_atoms}, {3 * n_atoms} … sites"
        allowed = f"{least}" if least == most else f"{least} to {most}"
        return f"{cells}, and {allowed} are allowed here"
    enough = [
        k for k in multiples if all(k * formula[z] >= count for z, count in budget.required.items())
    ]
    if not enough:
        return f"no multiple of it in a cell of at most {most} sites has the atoms required"
    code = int((ELEMENT_CODES[columns.numbers_E] * formula_E).sum())
    if any(code in known.codes_K for known in budget.known):
        return "the formula is known"
    look_ahead = ExactAhead(columns, formula_E, enough, budget.neutrality)
    grammar = CompositionGrammar(species, columns, look_ahead)
    if not _can_begin(grammar, columns):
        return "no choice of oxidation states makes it neutral"
    return grammar


def _reason(budget: Budget) -> str:
    """Return why nothing is left, as far as counting tells; empty where something may be."""
    if budget.impossible:
        return budget.impossible
    needed = set(budget.required) | set(budget.formula or {})
    least, most = budget.sites
    fewest, greatest = budget.n_elements
    n_required = sum(budget.required.values())
    if not budget.allowed:
        return "no element is left"
    if refused := needed - budget.allowed:
        return f"{named(refused)} would be needed and may not be there"
    if budget.formula is not None and (more := set(budget.required) - set(budget.formula)):
        return f"{named(more)} would be needed and is not in the formula"
    if budget.formula is not None and not fewest <= len(budget.formula) <= greatest:
        return f"the formula has {len(budget.formula)} elements"
    if least > most:
        return f"at least {least} and at most {most} sites are allowed"
    if n_required > most:
        return f"{n_required} atoms are required, and at most {most} sites are allowed"
    if fewest > greatest or fewest > most:
        return (
            f"at least {fewest} elements, and at most {greatest} of them or {most} sites, are "
            "allowed"
        )
    if len(needed) > greatest:
        return f"{len(needed)} elements are required, and at most {greatest} are allowed"
    if len(budget.allowed) < fewest:
        return f"at least {fewest} elements are needed, and {len(budget.allowed)} are allowed"
    return ""


def _can_begin(grammar: CompositionGrammar, columns: Columns) -> bool:
    """Whether any species may be the first."""
    mask = grammar.allowed(grammar.begin(1, "cpu"))[0]
    return bool(mask[columns.ids_S.tolist()].any())
