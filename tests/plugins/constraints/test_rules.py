"""What people write, and what they are told when it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgen import Constraint, Crystal, Grammar, Ordering, Representation
from matgen.catalog import Catalog
from matgen.errors import BadOptions
from matgen.generation.constraints import bound, joined
from matgen.generation.grammar import Intersection
from matgen.roles.representation import SpeciesTokens
from matgen.testing import check_constraint
from matgen.testing.language import random_walks
from matgen_constraints import binding
from matgen_constraints.element_sets import Elements
from matgen_constraints.formulas import Contains, Formula
from matgen_constraints.known_formulas import ELEMENT_CODES, KnownFormulas
from matgen_constraints.ranges import NSites
from matgen_constraints.rule import CompositionRule
from matgen_constraints.unseen import Unseen
from matgen_materium.atoms import Atoms
from matgen_materium.orderings import High, Low, Xyz
from matgen_toy.asking import Only
from matgen_toy.cubic import Cubic
from tests.plugins.constraints.brute_force import ListedFormulas

CATALOG = Catalog.load()
ATOMS = Atoms()
KNOWN = ListedFormulas(crystals=((3, 26, 8, 8), (14,)))


def rule(written: str) -> CompositionRule:
    """Return the rule for ``name=text``; the known formulas are LiFeO2 and Si."""
    name, _, text = written.partition("=")
    made = CATALOG.get("constraint", f"constraints:{name}").parse(text)  # type: ignore[attr-defined]  # the role says so
    assert isinstance(made, CompositionRule)
    return made.model_copy(update={"dataset": KNOWN}) if isinstance(made, Unseen) else made


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("formula= Ca3(PO4)2", "formula Ca3(PO4)2"),
        ("contains=Fe2O", "contains Fe2O"),
        ("contains=Li, O,Li", "contains Li2O"),
        ("elements=O, Li,O", "elements Li,O"),
        ("exclude=Tc,Pm", "exclude Pm,Tc"),
        ("chemical_system=Li-Fe-O", "chemical_system Fe-Li-O"),
        ("n_sites=8", "n_sites 8"),
        ("n_sites=4..12", "n_sites 4..12"),
        ("n_elements= 2 .. 4 ", "n_elements 2..4"),
        ("charge_neutral", "charge_neutral"),
        ("charge_neutral=strict", "charge_neutral strict"),
        ("unseen", "unseen (formulas of listed_formulas)"),
    ],
)
def test_a_rule_reads_what_a_person_writes(written: str, told: str) -> None:
    assert rule(written).told == told


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("formula=LiFeX2", "'LiFeX2' is no formula: no element has the symbol 'X'"),
        ("formula=", "'' is no formula; expected one such as LiFePO4"),
        ("contains=Li,,O", "'' is no formula"),
        ("elements=Li-Fe", "elements: 'Li-Fe' is no list of elements; write Li,Fe,O"),
        ("elements=Li,Xx", "no element has the symbol 'Xx'"),
        ("exclude=", "exclude: '' is no list of elements; write Li,Fe,O"),
        ("chemical_system=Li,Fe", "chemical_system: 'Li,Fe' is no list of elements; write Li-Fe-O"),
        ("n_sites=many", "n_sites: 'many' is no number or range; write 3 or 2..4"),
        ("n_sites=0..4", "n_sites: '0..4' begins below 1"),
        ("n_elements=4..2", "n_elements: nothing lies in 4..2; write the smaller number first"),
        ("charge_neutral=yes", "charge_neutral: 'yes' is no policy; write strict"),
        ("unseen=mp_le20", "constraint unseen takes no value; got 'mp_le20'"),
    ],
)
def test_what_a_rule_cannot_read_is_refused_in_one_line(written: str, reason: str) -> None:
    with pytest.raises(BadOptions) as refused:
        rule(written)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            ["formula=LiFeO2", "n_sites=4..12", "exclude=Fe,Co"],
            "exclude Co,Fe contradict each othe",
        ),
        (["formula=LiFeO2", "exclude=Fe"], "Fe would be needed and may not be there; change or dr"),
        (["formula=LiFeO2", "formula=LiCoO2"], "a crystal has one reduced formula"),
        (["formula=LiFeO2", "contains=Na"], "Na would be needed and is not in the formula"),
        (["formula=LiFeO2", "contains=O12"], "no multiple of it in a cell of at most 20 sites"),
        (["formula=LiFeO2", "n_elements=2"], "the formula has 3 elements"),
        (["formula=LiFeO2", "n_sites=5..7"], "its cells have 4, 8, 12 … sites, and 5 to 7 are al"),
        (["formula=Fe30O"], "formula Fe30O: its cells have 31, 62, 93 … sites, and 1 to 20"),
        (["formula=LiNa", "charge_neutral=strict"], "no choice of oxidation states makes it neutr"),
        (
            ["formula=Fe2Li2O4", "unseen"],
            "formula Fe2Li2O4 and unseen (formulas of listed_formulas",
        ),
        (["contains=Fe12O10"], "contains Fe12O10: 22 atoms are required, and at most 20 sites"),
        (["contains=Fe2O", "n_sites=2"], "3 atoms are required, and at most 2 sites are allowed"),
        (["contains=Fe,O", "n_elements=1"], "2 elements are required, and at most 1 are allowed"),
        (["elements=Li,Fe", "contains=O"], "O would be needed and may not be there"),
        (["elements=Li,Fe", "exclude=Fe,Li"], "no element is left"),
        (["elements=Li,Fe", "n_elements=3"], "at least 3 elements are needed, and 2 are allowed"),
        (["n_sites=3", "n_sites=4..5"], "at least 4 and at most 3 sites are allowed"),
        (["n_sites=30"], "n_sites 30: this model writes at most 20 sites; ask for fewer"),
        (["n_elements=30"], "n_elements 30: at least 30 elements"),
        (["n_sites=2", "n_elements=3..4"], "at least 3 elements, and at most 4 of them or 2 sites"),
        (["elements=Li,Na", "charge_neutral=strict"], "no choice of atoms and oxidation states"),
        (["elements=Og"], "elements Og: this model has no token for Og; leave it out"),
    ],
)
def test_rules_that_cannot_be_met_are_named_with_the_reason(written: list[str], told: str) -> None:
    with pytest.raises(BadOptions) as refused:
        bound([rule(one) for one in written], ATOMS)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_contradiction_names_no_rule_that_has_no_part_in_it() -> None:
    rules = ["n_sites=4..12", "formula=LiFeO2", "charge_neutral", "exclude=Fe", "n_elements=3"]
    with pytest.raises(BadOptions, match=r"^formula LiFeO2 and exclude Fe contradict each other"):
        bound([rule(one) for one in rules], ATOMS)


def test_rules_become_one_and_others_stay_apart() -> None:
    rules: list[Constraint] = [rule("n_sites=4"), Only(), rule("charge_neutral"), rule("unseen")]
    together, only = joined(rules)
    assert isinstance(together, CompositionRule)
    assert together.told == "n_sites 4 and charge_neutral and unseen (formulas of listed_formulas)"
    assert only == Only()


def test_a_representation_without_species_tokens_is_refused() -> None:
    with pytest.raises(BadOptions, match="cannot read the representation 'cubic'"):
        rule("n_sites=4").bind(Cubic())


def test_unseen_asks_for_its_dataset() -> None:
    with pytest.raises(BadOptions, match="no dataset says which formulas are known"):
        Unseen.parse("").bind(ATOMS)


def test_tables_that_would_not_fit_are_refused() -> None:
    """Neutrality of a formula looks at every set of missing atoms: 2^20 of them here."""
    numbers = np.array([0, *range(1, 21), 0], dtype=np.int64)
    species = SpeciesTokens(numbers, np.sign(numbers - 10), 21, 20)
    formula = "HHeLiBeBCNOFNeNaMgAlSiPSClArKCa"
    neutral = rule("charge_neutral")
    with pytest.raises(BadOptions, match="charge_neutral with a formula of 20 elements"):
        binding.bound([Formula(formula=formula), neutral], species)
    with pytest.raises(BadOptions, match="charge_neutral with 20 required atoms of 20 elements"):
        binding.bound([Contains(atoms=formula), neutral], species)


def test_in_order_required_atoms_of_many_elements_can_be_neutral() -> None:
    """Missing are then the last atoms only, and not any set of them."""
    numbers = np.array([0, *range(1, 21), 0], dtype=np.int64)
    species = SpeciesTokens(numbers, np.sign(numbers - 10), 21, 20)
    asked = [Contains(atoms="HHeLiBeBCNOFNeNaMgAlSiPSClArK"), rule("charge_neutral")]
    grammar = binding.bound(asked, species, "lightest_first")
    state = grammar.begin(1, "cpu")
    for token in range(1, 20):  # one H is not enough: 9 states of -1 and so far 9 of +1
        assert grammar.allowed(state)[0, token]
        state = grammar.advance(state, torch.tensor([token]))
    assert grammar.allowed(state)[0].nonzero().flatten().tolist() == [0, 21]


@pytest.mark.parametrize("name", list(CATALOG.names("ordering")))
def test_an_ordering_keeps_the_order_of_elements_that_it_tells(name: str) -> None:
    ordering = CATALOG.get("ordering", name)()
    assert isinstance(ordering, Ordering)
    rng = np.random.default_rng(0)
    for _ in range(20):
        numbers = rng.integers(1, 10, 12)
        crystal = Crystal(np.eye(3) * 5, rng.random((12, 3)), numbers, rng.integers(-2, 3, 12))
        steps = np.diff(numbers[ordering.permutation(crystal, rng)])
        assert ordering.element_order != "heaviest_first" or (steps <= 0).all()
        assert ordering.element_order != "lightest_first" or (steps >= 0).all()


def may_follow(grammar: Grammar, *written: str) -> set[int]:
    """Return the atomic numbers that may follow some species."""
    ids, state = ATOMS.vocabulary().ids, grammar.begin(1, "cpu")
    for species in written:
        state = grammar.advance(state, torch.tensor([ids[species]]))
    return set(ATOMS.species_tokens().numbers_V[grammar.allowed(state)[0].numpy()].tolist()) - {0}


@pytest.mark.parametrize(
    ("ordering", "first", "begun", "after_oxygen"),
    [
        (High(), {26}, "[Fe|+3]", {8, 3}),
        (Low(), {3}, "[Li|+1]", {8, 26}),
        (Xyz(), {3, 8, 26}, "[Li|+1]", {3, 8, 26}),
    ],
)
def test_an_element_comes_only_before_what_follows_it_in_the_ordering(
    ordering: Ordering, first: set[int], begun: str, after_oxygen: set[int]
) -> None:
    [grammar] = bound([rule("chemical_system=Li-Fe-O")], ATOMS, ordering)
    assert may_follow(grammar) == first
    assert may_follow(grammar, begun, "[O|-2]") == after_oxygen


def test_of_a_formula_the_next_element_comes_once_one_is_complete_in_some_multiple() -> None:
    [grammar] = bound([rule("formula=LiFeO2"), rule("n_sites=8..12")], ATOMS, High())
    assert may_follow(grammar) == {26}
    assert may_follow(grammar, "[Fe|+3]") == {26}
    assert may_follow(grammar, "[Fe|+3]", "[Fe|+3]") == {26, 8}
    assert may_follow(grammar, "[Fe|+3]", "[Fe|+3]", "[O|-2]") == {8}


def test_a_rule_that_orders_sites_itself_is_not_contradicted() -> None:
    class LithiumFirst(Only):
        @property
        def orders_sites(self) -> bool:
            return True

        def bind(self, representation: Representation) -> Grammar:
            return rule("elements=Li,O").bind(representation)

    composition, _ = bound([rule("formula=LiFeO2"), LithiumFirst()], ATOMS, High())
    assert may_follow(composition) == {3, 8, 26}


def test_a_contradiction_is_told_as_without_an_order() -> None:
    rules = [rule("formula=LiFeO2"), rule("n_sites=8"), rule("exclude=Fe")]
    with pytest.raises(BadOptions, match=r"^formula LiFeO2 and exclude Fe contradict each other"):
        bound(rules, ATOMS, High())


def test_settings_of_a_rule_are_checked_when_it_is_built() -> None:
    with pytest.raises(BadOptions, match="no element is named"):
        Elements(elements=())
    with pytest.raises(BadOptions, match=r"nothing lies in 5\.\.4"):
        NSites(least=5, greatest=4)


def test_the_code_of_a_multiple_is_that_multiple_of_the_code() -> None:
    """Known are LiFeO2 and Si: five cells of up to 4 sites, and of Si alone in 3 or fewer."""
    known = KnownFormulas.of([np.array([3, 26, 8, 8]), np.array([14, 14]), np.array([14])])
    silicon = [int(np.multiply(ELEMENT_CODES[14], n, dtype=np.int64)) for n in (1, 2, 3, 4)]
    oxide = int(ELEMENT_CODES[[3, 26, 8, 8]].sum())
    assert known.in_cells(4).tolist() == sorted([*silicon, oxide])
    assert known.in_cells(3).tolist() == sorted(silicon[:3])


@pytest.mark.parametrize(
    "written",
    [
        ["formula=LiFeO2", "charge_neutral"],
        ["contains=Fe2O", "n_sites=4..12"],
        ["n_elements=3", "charge_neutral=strict", "unseen"],
        ["elements=Li,Fe,O", "charge_neutral=strict", "unseen"],
    ],
    ids="+".join,
)
@pytest.mark.parametrize("ordering", [High(), Xyz()], ids=lambda ordering: ordering.name)
def test_no_step_copies_to_the_host(written: list[str], ordering: Ordering) -> None:
    """Tensors on torch's meta device have no values, so that reading one on the host raises."""
    [grammar] = bound([rule(one) for one in written], ATOMS, ordering)
    state = grammar.begin(5, "meta")
    ids = torch.zeros(5, dtype=torch.int64, device="meta")
    state = grammar.advance(state, ids)
    assert grammar.allowed(state).shape == (5, len(ATOMS.vocabulary()))
    assert grammar.finished(state).shape == grammar.kinds(state).shape == (5,)


@pytest.mark.parametrize("ordering", [Low(), Xyz()], ids=lambda ordering: ordering.name)
def test_a_row_that_took_a_token_it_was_not_allowed_hurts_no_other(ordering: Ordering) -> None:
    """Such a row counts on, past every table, while its neighbour writes LiFeO2."""
    for written in (
        ["formula=LiFeO2", "charge_neutral"],
        ["elements=Li,Fe,O", "charge_neutral=strict", "unseen"],
        ["n_elements=3", "charge_neutral=strict", "n_sites=4"],
    ):
        [grammar] = bound([rule(one) for one in written], ATOMS, ordering)
        ids = ATOMS.vocabulary().ids
        wrong, right = ids["[O|-2]"], [ids[t] for t in ("[Li|+1]", "[O|-2]", "[O|-2]", "[Fe|+3]")]
        state = grammar.begin(2, "cpu")
        for step in range(60):
            alone = grammar.allowed({name: part[1:] for name, part in state.items()})
            assert torch.equal(grammar.allowed(state)[1:], alone)
            token = right[step] if step < len(right) else ids["[SOS]"]
            state = grammar.advance(state, torch.tensor([wrong, token]))
        assert not grammar.allowed(state)[0, ids["[LATTICE]"]]
        assert bool(grammar.allowed(state)[1, ids["[LATTICE]"]]) == ("unseen" not in written)


def test_rules_hold_where_the_lattice_comes_first() -> None:
    """The sites then end with the end token, and the marker of the lattice comes before them."""
    lattice_first = Atoms(lattice="first")
    [one] = joined([rule("formula=LiFeO2"), rule("charge_neutral"), rule("n_sites=8")])
    check_constraint(one, lattice_first)
    vocabulary = lattice_first.vocabulary()
    grammar = Intersection(lattice_first.grammar(), [one.bind(lattice_first)])
    walked, dead = random_walks(
        one, grammar, vocabulary, lattice_first.max_tokens, np.random.default_rng(0)
    )
    assert dead == []
    for tokens in walked:
        crystal = lattice_first.decode(tokens)
        assert sorted(crystal.numbers.tolist()) == [3, 3, 8, 8, 8, 8, 26, 26]
        assert crystal.oxidation is not None
        assert crystal.oxidation.sum() == 0
