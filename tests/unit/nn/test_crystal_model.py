from __future__ import annotations

import itertools

import pytest
import torch

from matgen.nn.conditioner import GIVEN, NOT_ASKED, NOT_KNOWN, Conditioner
from matgen.nn.crystal_model import CrystalModel
from matgen.roles.representation import Vocabulary
from matgen_materium.llama import Llama
from tests.unit.small_model import END, LENGTH, Pair, Sentences, Weight, batch_of, small_model


def statuses(n: int) -> torch.Tensor:
    """Return (n, 2): every pair of statuses in turn, but not known where the data are NaN."""
    pairs = itertools.cycle(itertools.product((GIVEN, NOT_ASKED, NOT_KNOWN), repeat=2))
    return torch.tensor([next(pairs) for _ in range(n)])


def known(store: Sentences, status: torch.Tensor, rows: list[int]) -> torch.Tensor:
    for slot, label in enumerate(("weight", "pair")):
        for row, index in enumerate(rows):
            missing = bool(torch.isnan(torch.from_numpy(store._features[label][index])).any())
            if missing and status[row, slot] == GIVEN:
                status[row, slot] = NOT_KNOWN
    return status


def sums_and_gradients(
    model: CrystalModel,
    batches: list[tuple[list[int], torch.Tensor]],
    store: Sentences,
    packed: bool,
) -> tuple[float, float, list[torch.Tensor]]:
    model.zero_grad()
    token = value = 0.0
    for rows, status in batches:
        losses = model.token_losses(batch_of(model, store, rows, status, packed=packed))
        losses.total_N.sum().backward()
        token += float(losses.token_N.detach().sum())
        if losses.value_N is not None:
            value += float(losses.value_N.detach().sum())
    return token, value, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("conditions", [(Weight(), Pair()), ()])
def test_packed_dense_and_one_by_one_give_one_loss_and_one_gradient(
    continuous: bool, conditions: tuple[Weight | Pair, ...]
) -> None:
    store = Sentences(20, continuous=continuous)
    model = small_model(continuous=continuous, conditions=conditions)
    rows = list(range(20))
    status = known(store, statuses(20), rows)[:, : len(conditions)]
    by_length = [
        [row for row in rows if store.lengths[row] == length] for length in set(store.lengths)
    ]
    whole = sums_and_gradients(model, [(rows, status)], store, packed=True)
    grouped = sums_and_gradients(model, [(g, status[g]) for g in by_length], store, packed=False)
    single = sums_and_gradients(model, [([r], status[[r]]) for r in rows], store, packed=False)
    for other in (grouped, single):
        assert other[0] == pytest.approx(whole[0], rel=1e-5)
        assert other[1] == pytest.approx(whole[1], rel=1e-5)
        assert len(other[2]) == len(whole[2])
        for found, wanted in zip(other[2], whole[2], strict=True):
            # The sums run over some hundred terms in different orders.
            torch.testing.assert_close(
                found, wanted, rtol=1e-4, atol=1e-5 * max(1, wanted.abs().max())
            )


def test_every_token_but_the_start_is_a_target_with_its_own_kind() -> None:
    store, model = Sentences(4), small_model()
    losses = model.token_losses(batch_of(model, store, [0, 1, 2, 3], statuses(4) * 0, packed=True))
    targets = [int(t) for row in range(4) for t in store.ids[row][1:]]
    assert len(losses.token_N) == len(targets)
    wanted = [0 if t == END else 2 if t == LENGTH else 1 for t in targets]
    assert losses.kinds_N.tolist() == wanted
    assert losses.value_N is not None
    assert [bool(v != 0) for v in losses.value_N] == [t == LENGTH for t in targets]
    assert bool(torch.isfinite(losses.total_N).all())


def test_a_token_loss_is_the_log_softmax_of_the_hidden_state_before_it() -> None:
    store, model = Sentences(3), small_model()
    batch = batch_of(model, store, [2], torch.tensor([[GIVEN, NOT_ASKED]]), packed=False)
    h_SD = model.language_model.hidden(model.embed_stream(batch), batch.layout)
    ids = store.ids[2]
    wanted = [
        -float(model.language_model.logits(h_SD[2 + i - 1]).detach().log_softmax(-1)[ids[i]])
        for i in range(1, len(ids))
    ]
    found = model.token_losses(batch).token_N.detach()
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-5, rtol=1e-5)


def test_what_is_asked_changes_the_losses_and_a_missing_feature_does_not_spread() -> None:
    store, model = Sentences(3), small_model()

    def losses(status: list[int], row: int = 2) -> torch.Tensor:
        asked = torch.tensor([status])
        return model.token_losses(batch_of(model, store, [row], asked, packed=False)).total_N

    given, free, missing = (losses([s, s]) for s in (GIVEN, NOT_ASKED, NOT_KNOWN))
    assert not torch.allclose(given, free)
    assert not torch.allclose(missing, free)
    # Row 0 has no weight.
    blank = losses([NOT_KNOWN, NOT_KNOWN], row=0)
    blank.sum().backward()
    assert bool(torch.isfinite(blank).all())
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_conditions_asked_for_become_their_features_and_nothing_else() -> None:
    model = small_model()
    features, status = model.condition_batch([{"pair": "2,3"}, {}, {"weight": 5.0}], "cpu")
    assert status.tolist() == [[NOT_ASKED, GIVEN], [NOT_ASKED, NOT_ASKED], [GIVEN, NOT_ASKED]]
    assert features[0].tolist() == [[0.0], [0.0], [5.0]]
    assert features[1].tolist() == [[2.0, 3.0], [0.0, 0.0], [0.0, 0.0]]


def test_a_slot_is_its_label_plus_the_encoded_value_or_what_stands_for_none() -> None:
    conditioner = Conditioner((Weight(), Pair()), 6)
    features = [torch.tensor([[2.0], [torch.nan], [7.0]]), torch.full((3, 2), torch.nan)]
    status = torch.tensor([[GIVEN, NOT_ASKED], [NOT_KNOWN, NOT_ASKED], [NOT_ASKED, NOT_KNOWN]])
    slots = conditioner(features, status)
    label, asked, unknown = conditioner.label_KD, conditioner.not_asked_KD, conditioner.not_known_KD
    encoded = conditioner.encoders[0](torch.tensor([2.0]))
    torch.testing.assert_close(slots[0, 0], label[0] + encoded)
    torch.testing.assert_close(slots[1, 0], label[0] + unknown[0])
    torch.testing.assert_close(slots[2], label + torch.stack([asked[0], unknown[1]]))


def test_the_default_network_has_the_size_of_the_paper() -> None:
    names = tuple(str(i) for i in range(1600))
    vocabulary = Vocabulary(names, ("token",) * 1600, 0, 1)
    with torch.device("meta"):
        network = Llama().build(vocabulary, 100)
    # The paper says about 43 M; it does not say whether the embeddings are tied (0.8 M).
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(43e6, rel=0.05)


def test_a_width_that_heads_cannot_share_is_refused_with_what_fits() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        Llama(width=500, heads=16)
