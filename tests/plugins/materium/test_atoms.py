"""The token language of Materium on textbook crystals; laws over all cells are in contracts."""

import numpy as np
import pytest
import torch

from matgen import Crystal, Tokens
from matgen.errors import OutsideRange, Undecodable
from matgen_materium.atoms import Atoms
from matgen_materium.bins import Bins
from matgen_materium.orderings import High, Low, Random, Xyz

RNG = np.random.default_rng(0)


def rock_salt() -> Crystal:
    """Primitive NaCl, a = 5.64 Å."""
    half = 5.64 / 2
    return Crystal(
        np.array([[0, half, half], [half, 0, half], [half, half, 0]]),
        np.array([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]]),
        np.array([17, 11]),
        np.array([-1, 1]),
    )


def words(atoms: Atoms, tokens: Tokens) -> list[str]:
    return [atoms.vocabulary().names[i] for i in tokens.ids]


def test_rock_salt_reads_as_the_paper_writes_it() -> None:
    atoms = Atoms()
    tokens = atoms.encode(rock_salt(), Low(), RNG)
    length = f"#{round((5.64 / np.sqrt(2) - 2) / 0.02)}"
    assert words(atoms, tokens) == [
        "[SOS]", "[ATOMS]",
        "[Na|+1]", "#0", "#0", "#0",
        "[Cl|-1]", "#576", "#576", "#576",
        "[LATTICE]", length, length, length, "#0", "#0", "#0", "[EOS]",
    ]  # fmt: skip


def test_high_writes_the_heaviest_first_and_lattice_first_writes_the_cell_first() -> None:
    atoms = Atoms(lattice="first", inner="coordinates_first")
    written = words(atoms, atoms.encode(rock_salt(), High(), RNG))
    assert written[1] == "[LATTICE]"
    assert written[8:13] == ["[ATOMS]", "#576", "#576", "#576", "[Cl|-1]"]


def test_a_crystal_has_four_tokens_a_site_and_ten_more() -> None:
    assert len(Atoms().encode(rock_salt(), Xyz(), RNG)) == 4 * 2 + 10


def test_high_breaks_ties_by_ascending_position() -> None:
    crystal = Crystal(
        np.eye(3) * 5.0,
        np.array([[0.5, 0, 0], [0.25, 0.5, 0], [0.25, 0.25, 0], [0, 0, 0]]),
        np.array([8, 8, 8, 26]),
        np.array([-2, -2, -2, 6]),
    )
    order = High().permutation(Atoms().items(crystal), RNG)
    assert order.tolist() == [3, 2, 1, 0]


def test_random_is_one_permutation_per_stream_and_differs_between_streams() -> None:
    crystal = rock_salt().take(np.array([0, 1] * 5))
    draws = [tuple(Random().permutation(crystal, np.random.default_rng(s))) for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("lattice", ["last", "first"])
@pytest.mark.parametrize("inner", ["species_first", "coordinates_first"])
def test_the_grammar_never_leads_into_a_cell_that_does_not_close(lattice: str, inner: str) -> None:
    atoms = Atoms(lattice=lattice, inner=inner, max_sites=2)
    grammar = atoms.grammar()
    generator = torch.Generator().manual_seed(1)
    rows = 256
    state = grammar.begin(rows, "cpu")
    written = [[] for _ in range(rows)]
    for _ in range(atoms.max_tokens):
        allowed = grammar.allowed(state)
        done = grammar.finished(state)
        allowed[done, 0] = True
        ids = torch.multinomial(allowed.double(), 1, generator=generator)[:, 0]
        for row in range(rows):
            if not done[row]:
                written[row].append(int(ids[row]))
        state = grammar.advance(state, ids)
    assert bool(grammar.finished(state).all())
    for ids in written:
        crystal = atoms.decode(Tokens(np.array(ids)))
        assert crystal.volume > 0.4 * np.prod(np.linalg.norm(crystal.lattice, axis=1))


def test_too_many_sites_are_outside_the_range() -> None:
    with pytest.raises(OutsideRange, match="2 sites, the representation holds 1"):
        Atoms(max_sites=1).encode(rock_salt(), Low(), RNG)


def test_a_flat_cell_does_not_decode() -> None:
    atoms = Atoms()
    ids = atoms.encode(rock_salt(), Low(), RNG).ids.copy()
    ids[-4:-1] = atoms.first_bin + np.array([1000, 1000, 1000])
    with pytest.raises(Undecodable, match="flat cell"):
        atoms.decode(Tokens(ids))


def test_the_paper_preset_has_fewer_bins_than_the_default() -> None:
    paper, ours = Atoms(bins=Bins.paper()), Atoms()
    assert len(ours.vocabulary()) - len(paper.vocabulary()) == 1152 - 1024


def test_the_papers_bins_can_be_named_in_a_setting() -> None:
    assert Atoms.model_validate({"bins": "paper"}) == Atoms(bins=Bins.paper())
