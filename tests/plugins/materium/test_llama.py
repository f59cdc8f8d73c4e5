"""What the network is told besides its tokens: features, places; and that nothing grows stale."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from matgen import Vocabulary, elements, testing
from matgen_materium.atoms import Atoms
from matgen_materium.bins import Bins
from matgen_materium.llama import Llama
from matgen_materium.llama_network import LlamaNetwork
from matgen_materium.token_features import group_of

SMALL = Llama(layers=2, heads=2, width=16, ffn_width=24, dropout=0.0)


def network(settings: Llama, vocabulary: Vocabulary, seed: int = 0) -> LlamaNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = settings.build(vocabulary, 100)
    assert isinstance(built, LlamaNetwork)
    return built


@pytest.mark.parametrize("token_features", [False, True])
@pytest.mark.parametrize("learned_positions", [False, True])
def test_every_choice_keeps_the_contract(token_features: bool, learned_positions: bool) -> None:
    testing.check_backbone(
        SMALL.model_copy(
            update={"token_features": token_features, "learned_positions": learned_positions}
        )
    )


def test_a_vocabulary_that_knows_nothing_makes_the_plain_network() -> None:
    vocabulary = replace(Atoms().vocabulary(), features_VF=None)
    plain = network(SMALL, vocabulary).state_dict()
    asked = network(SMALL.model_copy(update={"token_features": True}), vocabulary).state_dict()
    assert plain.keys() == asked.keys()


def test_vectors_are_learned_ones_plus_the_map_of_what_is_known() -> None:
    vocabulary = Atoms().vocabulary()
    model = network(SMALL.model_copy(update={"token_features": True}), vocabulary).eval()
    assert model.token_map is not None
    ids = torch.tensor([1, 30, 700])
    known = torch.from_numpy(vocabulary.features_VF)[ids]
    wanted = model.embedding.weight[ids] + known @ model.token_map.weight.T
    torch.testing.assert_close(model.embed(ids, None), wanted)
    h = torch.randn(16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.logits(h)[ids], wanted @ h)


def test_vectors_kept_for_use_follow_every_change_of_the_weights() -> None:
    vocabulary = Atoms().vocabulary()
    settings = SMALL.model_copy(update={"token_features": True})
    model, other = network(settings, vocabulary), network(settings, vocabulary, seed=1)
    ids = torch.arange(len(vocabulary))
    with torch.no_grad():
        before = model.eval().embed(ids, None)
        torch.testing.assert_close(model.embed(ids, None), before)
        model.load_state_dict(other.state_dict())
        loaded = model.embed(ids, None)
        torch.testing.assert_close(loaded, other.eval().embed(ids, None))
        assert not torch.allclose(loaded, before)
        model.train()
        model.embedding.weight.add_(1.0)
        torch.testing.assert_close(model.eval().embed(ids, None), loaded + 1.0)


def test_groups_are_those_of_the_periodic_table() -> None:
    from pymatgen.core import Element

    for number in range(1, 104):
        element = Element.from_Z(number)
        block = element.is_lanthanoid or element.is_actinoid
        # pymatgen counts lutetium and lawrencium among the f block and in group 3.
        wanted = 18 if block and number not in (71, 103) else element.group - 1
        assert group_of(number) == wanted, elements.symbols[number]


def test_equal_elements_charges_and_neighbouring_bins_are_alike() -> None:
    atoms = Atoms()
    features = atoms.vocabulary().features_VF
    assert features is not None
    ids = atoms.vocabulary().ids

    def alike(one: str, other: str) -> float:
        return float(features[ids[one]] @ features[ids[other]])

    assert np.isin(np.round(np.linalg.norm(features, axis=1), 5), (0, 1)).all()
    assert alike("[Fe|+2]", "[Fe|+3]") == pytest.approx(0.75)
    assert alike("[Fe|+3]", "[Ru|+3]") == pytest.approx(0.5)  # group and charge
    assert alike("[Fe|+3]", "[Cl|-1]") == 0
    assert alike("#576", "#577") > alike("#576", "#580") > alike("#576", "#600")
    assert alike("#0", "#1151") == pytest.approx(alike("#0", "#1"), abs=1e-6)


def test_a_shift_of_the_origin_turns_the_waves_of_all_bins_alike() -> None:
    atoms = Atoms()
    features = atoms.vocabulary().features_VF
    assert features is not None
    waves = features[atoms.first_bin : atoms.first_bin + 1152].astype(np.float64)
    products = waves @ waves.T
    shifted = np.roll(products, (100, 100), axis=(0, 1))
    np.testing.assert_allclose(products, shifted, atol=1e-6)


@pytest.mark.parametrize("n", [24, 1024, 1152])
def test_any_grid_has_features(n: int) -> None:
    atoms = Atoms(bins=Bins(n_coordinate=n))
    features = atoms.vocabulary().features_VF
    assert features is not None
    assert features.shape[0] == len(atoms.vocabulary())
    assert np.isfinite(features).all()


def test_trained_models_rely_on_these_very_features() -> None:
    """Whoever changes them must raise ``Atoms.revision``: weights fit the features they saw."""
    features = Atoms().vocabulary().features_VF
    assert features is not None
    rounded = np.round(features.astype(np.float64), 4) + 0.0
    digest = hashlib.sha256(rounded.astype(np.float32).tobytes()).hexdigest()
    assert (Atoms.revision, digest[:16]) == (1, "5126bfad4ac364b6")
