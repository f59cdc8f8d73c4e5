"""The rule on distances: masks against brute force, samples against ase."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from matgen import Crystal, Tokens
from matgen.catalog import Catalog
from matgen.errors import BadOptions
from matgen.generation.generate import SamplePlan, generate
from matgen.generation.grammar import Intersection
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.roles.representation import Grammar, GrammarState
from matgen.run_dir import load_model, shipped_model
from matgen.testing import check_constraint
from matgen_materium import distance_grammar
from matgen_materium.atoms import Atoms
from matgen_materium.bins import Bins, Grid
from matgen_materium.cells import MINIMUM_SQUARED_SHAPE, lattice_vectors, squared_shape
from matgen_materium.constraint_distance import MinDistance
from matgen_materium.constraint_phases import FIRST_LATTICE
from matgen_materium.distance_limits import free_bins
from matgen_materium.llama import Llama
from matgen_materium.orderings import Random
from tests.unit.small_model import Words

CATALOG = Catalog.load()
IMAGES = np.array(list(itertools.product(range(-4, 5), repeat=3)))
LENGTHS = (Grid(lowest=1.2, step=0.3, n=9),) * 3
ANGLES = (Grid(lowest=60.0, step=5.0, n=13),) * 3
COARSE = Bins(n_coordinate=12, lattice=(*LENGTHS, *ANGLES))
"""Small cells and few points: much collides."""


@pytest.fixture(scope="module")
def shipped() -> CrystalModel:
    model, _ = load_model(shipped_model(), CATALOG, device="cpu")
    return model


def nearest(lattice: NDArray[np.float64], frac: NDArray[np.float64]) -> float:
    """Return the smallest distance, by trying images up to four cells away."""
    distances = [np.linalg.norm(IMAGES[IMAGES.any(axis=1)] @ lattice, axis=1).min()]
    for i, j in itertools.combinations(range(len(frac)), 2):
        distances.append(np.linalg.norm((frac[i] - frac[j] + IMAGES) @ lattice, axis=1).min())
    return float(min(distances))


def nearest_by_ase(crystal: Crystal) -> float:
    """Return the smallest distance; a supercell has each site's own images as other sites."""
    atoms = crystal.to_atoms() * (2, 2, 2)
    distances = atoms.get_all_distances(mic=True)
    return float(distances[np.triu_indices(len(atoms), 1)].min())


def coarse(lattice: str, inner: str = "species_first", max_sites: int = 3) -> Atoms:
    return Atoms.model_validate(
        {"bins": COARSE, "lattice": lattice, "inner": inner, "max_sites": max_sites}
    )


def walk(
    grammar: Grammar, rows: int, seed: int
) -> Iterator[tuple[GrammarState, NDArray[np.int64], list[int]]]:
    """Yield each state, the (rows, L) ids before it, and the rows in which all were allowed."""
    generator = torch.Generator().manual_seed(seed)
    state = grammar.begin(rows, "cpu")
    written = torch.zeros((rows, 0), dtype=torch.int64)
    alive = torch.ones(rows, dtype=torch.bool)
    while alive.any():
        mask = grammar.allowed(state)
        alive = alive & mask.any(1)
        yield state, written.numpy(), alive.nonzero().squeeze(1).tolist()
        ids = torch.multinomial((mask | ~alive[:, None]).double(), 1, generator=generator)
        state, written = grammar.advance(state, ids[:, 0]), torch.cat([written, ids], dim=1)


def sites_of(ids: NDArray[np.int64], atoms: Atoms, first: int, n: int) -> NDArray[np.float64]:
    columns = atoms.site_columns[1:]
    sites = ids[first : first + 4 * n].reshape(n, 4)[:, columns]
    return (sites - atoms.first_bin) / atoms.bins.n_coordinate


@pytest.mark.parametrize("distance", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("inner", ["species_first", "coordinates_first"])
def test_after_the_cell_z_is_masked_exactly_where_sites_collide(
    distance: float, inner: str
) -> None:
    atoms = coarse("first", inner)
    rule = MinDistance(distance_ang=distance).bind(atoms)
    grammar = Intersection(atoms.grammar(), [rule])
    z_column = atoms.site_columns[3]
    checked = masked = 0
    for state, written, alive in walk(grammar, 40, seed=3):
        site, column = divmod(written.shape[1] - 9, 4)
        if site < 1 or column != z_column:
            continue
        mask = grammar.allowed(state)
        for row in alive:
            ids = written[row]
            lattice = lattice_vectors(atoms.bins.parameters(ids[2:8] - atoms.first_bin))
            earlier = sites_of(ids, atoms, 9, site)
            frac = np.zeros(3)
            start = 9 + 4 * site + atoms.site_columns[1]
            frac[:2] = (ids[start : start + 2] - atoms.first_bin) / atoms.bins.n_coordinate
            for z in range(atoms.bins.n_coordinate):
                frac[2] = z / atoms.bins.n_coordinate
                found = min(nearest(lattice, np.array([frac, other])) for other in earlier)
                allowed = bool(mask[row, atoms.first_bin + z])
                assert allowed == (found >= distance - 1e-7)
                checked, masked = checked + 1, masked + (not allowed)
    assert checked > 100
    assert masked


@pytest.mark.parametrize("lattice", ["first", "last"])
@pytest.mark.parametrize("distance", [0.5, 1.0, 1.7])
def test_gamma_is_masked_exactly_where_a_pair_or_an_image_collides(
    distance: float, lattice: str
) -> None:
    atoms = coarse(lattice)
    rule = MinDistance(distance_ang=distance).bind(atoms)
    language = atoms.grammar()
    # The rule's own state along sentences that ignore it, so that much collides.
    ignored = _Together(language, rule)
    checked = masked = 0
    for state, written, alive in walk(ignored, 300, seed=4):
        phase = state["rule.phase"]
        for row in [row for row in alive if phase[row] == FIRST_LATTICE + 5][:60]:
            ids = written[row]
            n = int(state["rule.n_sites"][row])
            at = 2 if lattice == "first" else 3 + 4 * n
            bins = np.append(ids[at : at + 5] - atoms.first_bin, 0)
            frac = sites_of(ids, atoms, 2, n)
            mask = rule.allowed(_own(state))[row]
            for gamma in range(ANGLES[2].n):
                bins[5] = gamma
                parameters = atoms.bins.parameters(bins)
                if squared_shape(*np.cos(np.radians(parameters[3:]))) < MINIMUM_SQUARED_SHAPE:
                    continue
                found = nearest(lattice_vectors(parameters), frac)
                allowed = bool(mask[atoms.first_bin + gamma])
                assert allowed == (found >= distance - 1e-7)
                checked, masked = checked + 1, masked + (not allowed)
    assert checked > 500
    # Before the sites there are only the cell's own vectors, and few are so short.
    assert masked or (lattice == "first" and distance < 1.7)


def _own(state: GrammarState) -> GrammarState:
    return {k.removeprefix("rule."): t for k, t in state.items() if k.startswith("rule.")}


class _Together(Grammar):
    """What the first allows; the state of the second goes along."""

    def __init__(self, language: Grammar, rule: Grammar) -> None:
        self.language, self.rule = language, rule

    kind_names = ("any",)

    def begin(self, rows: int, device: str) -> GrammarState:
        return self._joined(self.language.begin(rows, device), self.rule.begin(rows, device))

    def allowed(self, state: GrammarState) -> Tensor:
        return self.language.allowed(state)

    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        return self._joined(
            self.language.advance(state, ids, values), self.rule.advance(_own(state), ids, values)
        )

    def finished(self, state: GrammarState) -> Tensor:
        return self.language.finished(state)

    def kinds(self, state: GrammarState) -> Tensor:
        return torch.zeros_like(state["phase"])

    def _joined(self, language: GrammarState, rule: GrammarState) -> GrammarState:
        return {**language, **{f"rule.{name}": tensor for name, tensor in rule.items()}}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    distance=st.floats(0.3, 2.0),
    lattice=st.sampled_from(["last", "first"]),
)
def test_whatever_is_far_enough_may_be_written(seed: int, distance: float, lattice: str) -> None:
    atoms = coarse(lattice)
    rng = np.random.default_rng(seed)
    parameters = atoms.bins.parameters(rng.integers(0, [9, 9, 9, 13, 13, 13]))
    frac = rng.integers(0, 12, (int(rng.integers(1, 4)), 3)) / 12
    if squared_shape(*np.cos(np.radians(parameters[3:]))) < MINIMUM_SQUARED_SHAPE:
        return
    crystal = Crystal(
        lattice_vectors(parameters), frac, np.full(len(frac), 26), np.zeros(len(frac), np.int64)
    )
    tokens = atoms.encode(crystal, Random(), rng)
    found = nearest(crystal.lattice, frac)
    if abs(found - distance) > 1e-6:
        assert obeys(MinDistance(distance_ang=distance), atoms, tokens) == (found > distance)


@pytest.mark.parametrize("lattice", ["first", "last"])
def test_doing_all_rows_allows_the_same_as_looking_for_those_that_need_it(
    lattice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    atoms = coarse(lattice)
    rule = MinDistance(distance_ang=1.4).bind(atoms)
    differing = 0
    for state, _, alive in walk(_Together(atoms.grammar(), rule), 50, seed=6):
        looked = rule.allowed(_own(state))[alive]
        with monkeypatch.context() as changed:
            changed.setattr(distance_grammar, "may_look", lambda _: False)
            assert torch.equal(rule.allowed(_own(state))[alive], looked)
        differing += int((~looked).any())
    assert differing


def obeys(rule: MinDistance, atoms: Atoms, tokens: Tokens) -> bool:
    grammar = rule.bind(atoms)
    state = grammar.begin(1, "cpu")
    for token in tokens.ids:
        if not grammar.allowed(state)[0, token]:
            return False
        state = grammar.advance(state, torch.tensor([token]))
    return True


@given(
    st.lists(st.tuples(st.floats(-40, 40), st.floats(0, 30)), min_size=1, max_size=4),
    st.integers(2, 15),
)
def test_intervals_take_the_bins_inside_them_modulo_the_period(
    intervals: list[tuple[float, float]], n: int
) -> None:
    low, width = np.array(intervals).T
    expected = [
        not any(
            lo < k + n * turn < lo + w
            for lo, w in zip(low, width, strict=True)
            for turn in range(-80, 80)
        )
        for k in range(n)
    ]
    low_RK = torch.from_numpy(low)[None]
    assert free_bins(low_RK, low_RK + torch.from_numpy(width), n)[0].tolist() == expected


@pytest.mark.parametrize("lattice", ["first", "last"])
@pytest.mark.parametrize("inner", ["species_first", "coordinates_first"])
@pytest.mark.parametrize("distance", [0.5, 1.5])
def test_it_is_a_grammar_wherever_the_cell_is_written(
    lattice: str, inner: str, distance: float
) -> None:
    check_constraint(MinDistance(distance_ang=distance), coarse(lattice, inner, 4))
    atoms = Atoms.model_validate({"lattice": lattice, "inner": inner})
    check_constraint(MinDistance(distance_ang=distance), atoms)


def test_a_number_of_angstrom_is_read_and_nothing_is_the_default() -> None:
    assert (MinDistance.parse("0.7").distance_ang, MinDistance.parse("")) == (0.7, MinDistance())


@pytest.mark.parametrize("text", ["0", "-1", "nan", "3.5", "near"])
def test_what_is_no_distance_is_refused(text: str) -> None:
    with pytest.raises(BadOptions, match="write a number of Å"):
        MinDistance.parse(text)


def test_another_representation_is_refused() -> None:
    with pytest.raises(BadOptions, match="representation 'atoms'"):
        MinDistance().bind(Words())


@pytest.mark.parametrize("distance", [0.5, 1.0])
def test_300_samples_of_the_shipped_model_keep_apart(
    shipped: CrystalModel, distance: float
) -> None:
    assert_apart(shipped, distance, least_finished=285)


@pytest.mark.parametrize("distance", [0.5, 1.5])
def test_300_samples_of_a_model_that_knows_nothing_keep_apart_after_the_cell(
    distance: float,
) -> None:
    backbone = Llama(width=32, heads=2, layers=1, ffn_width=48)
    model = CrystalModel(ModelSpec(Atoms(lattice="first"), Random(), backbone, ()))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    assert_apart(model.eval(), distance, least_finished=300)


def assert_apart(model: CrystalModel, distance: float, *, least_finished: int) -> None:
    plan = SamplePlan(
        model=model,
        sampler=CATALOG.build("sampler", "samplers:ancestral"),
        constraints=(MinDistance(distance_ang=distance),),
        n=300,
        seed=7,
    )
    found = [sample.crystal for sample in generate(plan) if sample.crystal is not None]
    assert len(found) >= least_finished
    assert min(map(nearest_by_ase, found)) >= distance - 1e-6
