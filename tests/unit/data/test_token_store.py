"""A store gives back what was encoded, anew where the ordering is, and refuses what is damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matgen import Crystal, Ordering, Representation
from matgen.data.token_store import FORMAT, TokenStore
from matgen.errors import BadFile, BadOptions, NewerFormat
from matgen.records import Tokens
from matgen_materium.atoms import Atoms
from matgen_materium.conditions import Density
from matgen_materium.elements_asked import ChemicalSystem, ReducedFormula
from matgen_materium.orderings import High, Low, Random
from matgen_toy.asking import BySpecies
from matgen_toy.cubic import Cubic
from matgen_toy.textbook import Textbook
from tests.unit.data.small_data import Hardness, Salts, built, catalog

ALL = np.arange(7)


def sequences(store: TokenStore, epoch: int, indices: Any = ALL) -> list[Tokens]:
    """Return what ``gather`` gives, cut into sequences."""
    gathered = store.gather(np.asarray(indices), epoch=epoch)
    cuts = np.cumsum(store.lengths[indices])[:-1]
    ids = np.split(gathered.ids, cuts)
    if gathered.values is None:
        return [Tokens(one) for one in ids]
    values = np.split(gathered.values, cuts)
    return [Tokens(one, own) for one, own in zip(ids, values, strict=True)]


def written_sites(crystal: Crystal) -> list[tuple[float, ...]]:
    assert crystal.oxidation is not None
    columns = np.column_stack([crystal.numbers, crystal.oxidation, crystal.frac])
    return [tuple(row) for row in columns.tolist()]


@pytest.mark.parametrize(
    ("representation", "ordering"),
    [(Atoms(), High()), (Atoms(inner="coordinates_first"), Low()), (Cubic(), BySpecies())],
)
def test_gather_gives_what_encode_gives_crystal_by_crystal(
    tmp_path: Path, representation: Representation, ordering: Ordering
) -> None:
    store = built(tmp_path, dataset=Textbook(), representation=representation, ordering=ordering)
    chosen = [5, 0, 13, 5]
    rng = np.random.default_rng(0)
    expected = [representation.encode(store.crystal(i), ordering, rng) for i in chosen]
    gathered = store.gather(np.array(chosen), epoch=0)
    kinds = [representation.position_kinds(tokens) for tokens in expected]
    np.testing.assert_array_equal(gathered.ids, np.concatenate([t.ids for t in expected]))
    np.testing.assert_array_equal(gathered.kinds, np.concatenate(kinds))
    np.testing.assert_array_equal(store.lengths[chosen], [len(t) for t in expected])
    if representation.vocabulary().continuous:
        values = [t.values for t in expected if t.values is not None]
        np.testing.assert_array_equal(gathered.values, np.concatenate(values))
    else:
        assert gathered.values is None


def test_the_crystals_of_a_store_are_those_of_the_dataset_on_the_grid(tmp_path: Path) -> None:
    store = built(tmp_path)
    states = np.array([1] * 4 + [-1] * 4, dtype=np.int64)
    for crystal, record in zip(store.crystals(), Salts().records("train"), strict=True):
        # 4.0 Å and its like are points of the grid, and so are quarters.
        np.testing.assert_allclose(crystal.lattice, record.crystal.lattice, atol=1e-9)
        expected = record.crystal.with_oxidation(states)
        assert sorted(written_sites(crystal)) == sorted(written_sites(expected))


def test_a_redrawn_ordering_writes_the_same_sites_in_another_order_each_epoch(
    tmp_path: Path,
) -> None:
    store = built(tmp_path, ordering=Random(redraw="epoch"))
    epochs = [sequences(store, epoch) for epoch in range(3)]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        for index in ALL:
            first, second = (
                written_sites(store.representation.decode(epochs[e][index])) for e in (one, other)
            )
            assert first != second
            assert sorted(first) == sorted(second)


def test_a_redrawn_ordering_depends_on_epoch_and_crystal_not_on_the_batch(tmp_path: Path) -> None:
    store = built(tmp_path, ordering=Random(redraw="epoch"))
    together = sequences(store, 3)
    reversed_ = sequences(store, 3, ALL[::-1])
    for one, other in zip(together, reversed_[::-1], strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)


def test_a_redrawn_ordering_draws_other_permutations_with_another_seed(tmp_path: Path) -> None:
    one, other = (built(tmp_path, ordering=Random(redraw="epoch"), seed=seed) for seed in (0, 1))
    assert not np.array_equal(one.gather(ALL, epoch=0).ids, other.gather(ALL, epoch=0).ids)


def test_a_random_ordering_that_is_drawn_once_is_the_same_in_every_epoch(tmp_path: Path) -> None:
    store = built(tmp_path, ordering=Random(redraw="never"))
    sorted_ = built(tmp_path, ordering=High())
    np.testing.assert_array_equal(store.gather(ALL, epoch=0).ids, store.gather(ALL, epoch=9).ids)
    for drawn, ordered in zip(sequences(store, 0), sequences(sorted_, 0), strict=True):
        sites = [written_sites(store.representation.decode(t)) for t in (drawn, ordered)]
        assert sites[0] != sites[1]
        assert sorted(sites[0]) == sorted(sites[1])


def test_features_are_the_conditions_of_each_crystal_and_nan_where_unknown(tmp_path: Path) -> None:
    store = built(tmp_path, conditions=(Density(), Hardness()))
    hardness = store.features("hardness", ALL)
    expected = np.log([[2.0], [np.nan], [3.0], [np.nan], [4.0], [np.nan], [5.0]])
    np.testing.assert_allclose(hardness, expected, rtol=1e-6)  # float32
    densities = [[Density().achieved(crystal)] for crystal in store.crystals()]
    np.testing.assert_allclose(store.features("density", ALL), densities, rtol=1e-6)  # float32
    np.testing.assert_array_equal(store.features("hardness", np.array([6, 1])), hardness[[6, 1]])


def test_a_reopened_store_says_what_it_is_made_of(tmp_path: Path) -> None:
    store = built(tmp_path, ordering=Random(redraw="epoch"), conditions=(Hardness(),))
    again = TokenStore.open(store.path, catalog())
    assert again.representation == Atoms()
    assert again.ordering == Random(redraw="epoch")
    assert again.conditions == (Hardness(),)
    assert again.n_tokens == again.index["n_tokens"] == int(again.lengths.sum())


@pytest.mark.parametrize("name", ["ids", "lengths", "feature_0_dense"])
@pytest.mark.parametrize("kept", [0, 20, 130])
def test_a_truncated_array_says_to_delete_the_folder(tmp_path: Path, name: str, kept: int) -> None:
    store = built(tmp_path, conditions=(Density(),))
    file = store.path / f"{name}.npy"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BadFile, match=rf"damaged \({name}\.npy: .*delete the folder"):
        _read_everything(TokenStore.open(store.path, catalog()))


def test_a_missing_array_says_to_delete_the_folder(tmp_path: Path) -> None:
    store = built(tmp_path)
    (store.path / "lengths.npy").unlink()
    with pytest.raises(BadFile, match="delete the folder"):
        _read_everything(TokenStore.open(store.path, catalog()))


def test_a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    store = built(tmp_path)
    (store.path / "index.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(NewerFormat, match=f"format {FORMAT + 1}.*upgrade"):
        TokenStore.open(store.path, catalog())


def test_a_store_of_an_older_format_says_to_prepare_again(tmp_path: Path) -> None:
    store = built(tmp_path)
    (store.path / "index.json").write_text(json.dumps({"format": FORMAT - 1}))
    with pytest.raises(BadFile, match=r"older matgen .* prepare the data again"):
        TokenStore.open(store.path, catalog())


def test_tokens_that_do_not_add_up_to_their_lengths_are_refused(tmp_path: Path) -> None:
    store = built(tmp_path)
    np.save(store.path / "ids.npy", np.zeros(5, dtype=np.uint16))
    with pytest.raises(BadFile, match="lengths add up to"):
        _read_everything(TokenStore.open(store.path, catalog()))


def test_random_origins_move_all_sites_together_by_whole_points_in_each_epoch(
    tmp_path: Path,
) -> None:
    store = built(tmp_path, representation=Atoms(origins="random"))
    canonical = built(tmp_path, representation=Atoms())
    for index in ALL:
        shifts = set()
        for epoch in range(3):
            moved = store.representation.decode(sequences(store, epoch)[index])
            kept = canonical.crystal(index)
            np.testing.assert_allclose(moved.lattice, kept.lattice, atol=1e-9)
            points = np.rint(moved.frac * 1152).astype(int)
            one = points[moved.numbers == kept.numbers[0]]
            other = np.rint(kept.frac * 1152).astype(int)[kept.numbers == kept.numbers[0]]
            steps = {tuple((p - q) % 1152) for p in one for q in other}
            # Rock salt: each shift that maps the element onto itself maps the whole crystal.
            fits = [
                step
                for step in steps
                if {tuple(p) for p in points}
                == {tuple(q) for q in (np.rint(kept.frac * 1152).astype(int) + step) % 1152}
            ]
            assert fits
            shifts.add(min(fits))
        assert len(shifts) > 1


def test_wide_features_are_kept_sparse_and_come_back_whole(tmp_path: Path) -> None:
    store = built(tmp_path, conditions=(ReducedFormula(), ChemicalSystem()))
    assert not list(store.path.glob("feature_0_dense.npy"))
    rows = store.features("reduced_formula", np.array([6, 0, 6]))
    expected = [ReducedFormula().feature(formula) for formula in ("RbCl", "LiF", "RbCl")]
    np.testing.assert_array_equal(rows, np.array(expected, dtype=np.float32))
    flags = store.features("chemical_system", ALL)
    assert flags.shape == (7, ChemicalSystem().feature_size)
    assert (flags.sum(axis=1) == 2.0).all()


def test_a_lattice_grid_on_request_just_holds_the_training_crystals(tmp_path: Path) -> None:
    store = built(tmp_path, representation=Atoms(lattice_range="dataset"))
    fitted = store.representation
    assert isinstance(fitted, Atoms)
    assert fitted.lattice_range == "fitted"
    assert fitted.answers(Atoms(lattice_range="dataset"))
    assert not fitted.answers(Atoms(lattice_range="dataset", max_sites=7))
    assert not fitted.answers(Atoms())
    assert fitted.bins.lattice[0].lowest == pytest.approx(4.0)
    assert fitted.bins.lattice[2].highest == pytest.approx(5.8)
    assert len(store) == 7
    val = built(tmp_path, split="val", representation=fitted)
    assert val.representation == fitted
    with pytest.raises(BadOptions, match="prepare those first"):
        built(tmp_path, split="val", representation=Atoms(lattice_range="dataset"))


@pytest.mark.parametrize("index", [{}, {"format": "one"}, {"format": FORMAT}])
def test_an_index_of_something_else_is_refused(tmp_path: Path, index: dict[str, Any]) -> None:
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(BadFile, match="no index of a token store"):
        TokenStore.open(tmp_path, catalog())


def test_a_folder_that_is_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="matgen data prepare"):
        TokenStore.open(tmp_path, catalog())


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("feature_0_dense", np.zeros((7, 5), dtype=np.float32), r"shape \(7, 5\), not \(7, 1\)"),
        ("feature_0_dense", np.zeros((6, 1), dtype=np.float32), r"not \(7, 1\)"),
        ("feature_1_counts", np.zeros(3, dtype=np.int16), "do not fit 7 rows"),
        ("feature_1_columns", np.full(14, 60_000, dtype=np.uint16), "do not fit 7 rows"),
        ("lengths", np.full(7, 42.0), "no lengths"),
        ("lengths", np.full(7, -42), "no lengths"),
    ],
)
def test_an_array_of_another_kind_is_refused(
    tmp_path: Path, name: str, array: np.ndarray, said: str
) -> None:
    store = built(tmp_path, conditions=(Density(), ReducedFormula()))
    np.save(store.path / f"{name}.npy", array)
    with pytest.raises(BadFile, match=said):
        _read_everything(TokenStore.open(store.path, catalog()))


@pytest.mark.parametrize("key", ["seed", "representation", "ordering", "conditions"])
def test_an_index_with_a_wrong_entry_is_refused(tmp_path: Path, key: str) -> None:
    store = built(tmp_path)
    index = json.loads((store.path / "index.json").read_text())
    (store.path / "index.json").write_text(json.dumps({**index, key: ["nonsense"]}))
    with pytest.raises(BadFile, match="damaged"):
        TokenStore.open(store.path, catalog())


def _read_everything(store: TokenStore) -> None:
    store.gather(ALL, epoch=0)
    store.features("density", ALL)
    store.crystal(0)
