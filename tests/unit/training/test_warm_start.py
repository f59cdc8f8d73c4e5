from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matgen.atomic import read_tensors, write_json, write_tensors
from matgen.errors import BadFile, BadOptions, NewerFormat, PluginProblem
from matgen.model_spec import ModelSpec
from matgen.nn.conditioner import GIVEN, NOT_ASKED, NOT_KNOWN
from matgen.nn.crystal_model import CrystalModel, TokenLosses
from matgen.roles.backbone import Backbone
from matgen.roles.condition import Condition, ScalarCondition
from matgen.roles.representation import Vocabulary
from matgen.training.loop import train
from matgen.training.settings import TrainingSettings
from matgen.training.warm_start import WarmStart, warm_start
from matgen_materium.atoms import Atoms
from matgen_materium.bins import Bins, Grid
from matgen_materium.conditions import Density, Hhi
from matgen_materium.llama import Llama
from matgen_materium.orderings import High
from matgen_toy.network import OneBlockNetwork
from matgen_toy.one_block import OneBlock
from tests.unit.small_model import AsWritten, Pair, Sentences, Weight, Words, batch_of

LLAMA = Llama(layers=2, heads=2, width=16, ffn_width=24, dropout=0.0)
BACKBONES = [LLAMA, OneBlock(width=16)]
ROWS = [2, 3, 4, 6, 7, 9]
"""Sentences of which both conditions are known."""


class Listed(Words):
    """Words whose tokens come in any order and with any names."""

    name = "listed"
    names: tuple[str, ...]
    lengths: tuple[str, ...] = ("<length>",)

    def vocabulary(self) -> Vocabulary:
        return Vocabulary(
            names=self.names,
            kinds=("any",) * len(self.names),
            start=self.names.index("<start>"),
            end=self.names.index("<end>"),
            continuous=tuple(self.names.index(name) for name in self.lengths),
        )


class Height(ScalarCondition):
    name = "height"
    unit = "m"


def spec_of(
    backbone: Backbone = LLAMA,
    representation: Words | None = None,
    conditions: tuple[Condition, ...] = (Weight(), Pair()),
) -> ModelSpec:
    return ModelSpec(representation or Words(), AsWritten(), backbone, conditions)


def fresh(spec: ModelSpec, seed: int = 1) -> CrystalModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CrystalModel(spec).eval()


def trained(spec: ModelSpec) -> CrystalModel:
    """Return a model of which every tensor of the state has values of its own."""
    model = fresh(spec, seed=0)
    generator = torch.Generator().manual_seed(0)
    for tensor in model.state_dict().values():
        tensor.copy_(0.3 * torch.rand(tensor.shape, generator=generator) + 0.2)
    return model


def saved(model: CrystalModel, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    weights = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    write_tensors(folder / "model.safetensors", weights)
    write_json(folder / "vocabulary.json", model.vocabulary.to_json())
    return folder


def started(spec: ModelSpec, base: CrystalModel, folder: Path) -> tuple[CrystalModel, WarmStart]:
    model = fresh(spec)
    return model, warm_start(model, saved(base, folder), base.spec)


def statuses(*states: int) -> torch.Tensor:
    return torch.tensor([states] * len(ROWS))


def losses(model: CrystalModel, store: Sentences, status: torch.Tensor) -> TokenLosses:
    with torch.no_grad():
        return model.token_losses(batch_of(model, store, ROWS, status, packed=True))


class Heights(Sentences):
    """Sentences that know a height, too."""

    def features(self, label: str, indices: Any) -> Any:
        if label == "height":
            return np.full((len(indices), 1), 1.5, dtype=np.float32)
        return super().features(label, indices)


def renamed(store: Sentences, old: Vocabulary, new: Vocabulary) -> Sentences:
    """Return the same sentences in the ids of another vocabulary."""
    ids = np.array([new.ids.get(name, -1) for name in old.names])
    store.ids = [ids[sentence] for sentence in store.ids]
    return store


@pytest.mark.parametrize("backbone", BACKBONES)
def test_with_the_same_components_the_losses_are_the_same_to_the_bit(
    backbone: Backbone, tmp_path: Path
) -> None:
    spec = spec_of(backbone)
    base = trained(spec)
    model, told = started(spec, base, tmp_path)
    for status in (statuses(GIVEN, NOT_KNOWN), statuses(NOT_ASKED, GIVEN)):
        one, other = (losses(m, Sentences(10), status) for m in (base, model))
        assert torch.equal(one.total_N, other.total_N)
        assert one.value_N is not None
    assert (told.n_kept, told.n_new) == (base.n_parameters, 0)
    assert told.tokens.kept == base.vocabulary.names
    assert told.conditions.kept == ("weight", "pair")


def test_weights_of_16_bits_train_in_32(tmp_path: Path) -> None:
    base = trained(spec_of())
    model = fresh(spec_of())
    warm_start(model, saved(base, tmp_path, torch.bfloat16), base.spec)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, base.state_dict()[name].bfloat16().float())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_further_condition_leaves_every_old_number_as_it_was(
    backbone: Backbone, tmp_path: Path
) -> None:
    base = trained(spec_of(backbone))
    spec = spec_of(backbone, conditions=(Weight(), Pair(), Height()))
    model, told = started(spec, base, tmp_path)
    new, untouched = model.state_dict(), fresh(spec).state_dict()
    for name, old in base.state_dict().items():
        if name.startswith("conditioner.") and old.shape != new[name].shape:
            assert torch.equal(new[name][:2], old)
            assert torch.equal(new[name][2], untouched[name][2])
        elif name != "language_model.place.weight":
            assert torch.equal(new[name], old), name
    for name in new.keys() - base.state_dict().keys():
        assert name.startswith("conditioner.encoders.2.")
        assert torch.equal(new[name], untouched[name])
    assert told.conditions.new == ("height",)
    assert told.n_kept == base.n_parameters
    assert told.n_kept + told.n_new == model.n_parameters
    # What the old slots say does not hear of a slot behind them.
    status = statuses(GIVEN, NOT_KNOWN)
    one = base.embed_stream(batch_of(base, Heights(10), ROWS, status, packed=True))
    three = statuses(GIVEN, NOT_KNOWN, NOT_ASKED)
    other = model.embed_stream(batch_of(model, Heights(10), ROWS, three, packed=True))
    assert torch.equal(one[:2], other[:2])
    assert torch.equal(one[2:5], other[3:6])


def test_learned_positions_move_with_what_stands_there(tmp_path: Path) -> None:
    base = trained(spec_of(OneBlock(width=16), conditions=(Weight(), Pair())))
    spec = spec_of(OneBlock(width=16), conditions=(Pair(), Height(), Weight()))
    model, _ = started(spec, base, tmp_path)
    old, new = (m.state_dict()["language_model.place.weight"] for m in (base, model))
    assert torch.equal(new[[0, 2]], old[[1, 0]])
    assert torch.equal(new[1], fresh(spec).state_dict()["language_model.place.weight"][1])
    assert torch.equal(new[3:], old[2:])


def test_conditions_are_found_by_their_labels(tmp_path: Path) -> None:
    base = trained(spec_of(conditions=(Weight(), Pair(), Height())))
    model, told = started(spec_of(conditions=(Pair(), Weight())), base, tmp_path)
    store = Heights(10)
    values = [store.features(label, np.array(ROWS)) for label in ("weight", "pair", "height")]
    features = [torch.from_numpy(value) for value in values]
    status = torch.tensor([[GIVEN, NOT_KNOWN, NOT_ASKED], [NOT_ASKED, GIVEN, GIVEN]] * 3)
    before = base.conditioner(features, status)
    after = model.conditioner([features[1], features[0]], status[:, [1, 0]])
    assert torch.equal(after, before[:, [1, 0]])
    assert told.conditions.dropped == ("height",)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("seed", range(4))
def test_tokens_are_found_by_their_names_wherever_they_went(
    backbone: Backbone, seed: int, tmp_path: Path
) -> None:
    base = trained(spec_of(backbone))
    rng = np.random.default_rng(seed)
    names = [*base.vocabulary.names, "new 1", "new 2", "new 3"]
    names.remove("w11")
    spec = spec_of(backbone, Listed(names=tuple(rng.permutation(names).tolist())))
    model, told = started(spec, base, tmp_path)
    assert told.tokens.new == tuple(name for name in model.vocabulary.names if "new" in name)
    assert told.tokens.dropped == ("w11",)
    shared = [name for name in base.vocabulary.names if name != "w11"]
    there = [base.vocabulary.ids[name] for name in shared]
    here = [model.vocabulary.ids[name] for name in shared]
    new_ids = [model.vocabulary.ids[name] for name in told.tokens.new]
    new, untouched = model.state_dict(), fresh(spec).state_dict()
    for name in model.language_model.vocabulary_axes:
        full = f"language_model.{name}"
        assert torch.equal(new[full][here], base.state_dict()[full][there])
        assert torch.equal(new[full][new_ids], untouched[full][new_ids])
    # Among the old tokens alone the model is the old one: same hidden states, logits and values.
    store = Sentences(10, n_words=11)
    status = statuses(GIVEN, NOT_ASKED)
    old_batch = batch_of(base, store, ROWS, status, packed=True)
    again = renamed(Sentences(10, n_words=11), base.vocabulary, model.vocabulary)
    new_batch = batch_of(model, again, ROWS, status, packed=True)
    with torch.no_grad():
        hidden = [
            m.language_model.hidden(m.embed_stream(b), b.layout)
            for m, b in ((base, old_batch), (model, new_batch))
        ]
        assert torch.equal(hidden[0], hidden[1])
        logits = [m.language_model.logits(h) for m, h in zip((base, model), hidden, strict=True)]
    torch.testing.assert_close(logits[0][:, there], logits[1][:, here])  # products of other widths
    values = [losses(base, store, status).value_N, losses(model, again, status).value_N]
    assert values[0] is not None
    assert torch.equal(values[0], values[1])


def test_scales_of_continuous_tokens_go_with_their_names(tmp_path: Path) -> None:
    base = trained(spec_of())
    names = ("<width>", *Words().vocabulary().names)
    both = Listed(names=names, lengths=("<width>", "<length>"))
    model, _ = started(spec_of(representation=both), base, tmp_path)
    network, old = model.language_model, base.language_model
    for scale, old_scale in (
        (network.value_head.scale, old.value_head.scale),
        (network.value_embedding.scale, old.value_embedding.scale),
    ):
        assert torch.equal(scale.centre_C, torch.stack([torch.tensor(0.0), *old_scale.centre_C]))
        assert torch.equal(scale.spread_C, torch.stack([torch.tensor(1.0), *old_scale.spread_C]))
    assert torch.equal(network.value_head.token.weight[1], old.value_head.token.weight[0])
    assert torch.equal(network.value_head.out.weight, old.value_head.out.weight)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_first_continuous_token_brings_a_fresh_head_and_the_last_takes_it_away(
    backbone: Backbone, tmp_path: Path
) -> None:
    with_values, without = (spec_of(backbone, Words(continuous=c)) for c in (True, False))
    model, told = started(with_values, trained(without), tmp_path / "none")
    untouched = fresh(with_values).state_dict()
    value_names = [name for name in untouched if ".value_" in name]
    assert value_names
    assert all(torch.equal(model.state_dict()[name], untouched[name]) for name in value_names)
    assert told.n_new == sum(untouched[n].numel() for n in value_names if ".scale." not in n)
    base = trained(with_values)
    model, told = started(without, base, tmp_path / "some")
    assert told.n_new == 0
    assert all(torch.equal(t, base.state_dict()[name]) for name, t in model.state_dict().items())


def test_a_grid_of_the_lattice_may_grow_at_its_end(tmp_path: Path) -> None:
    spec = ModelSpec(Atoms(max_sites=2), High(), LLAMA, (Density(),))
    longer = [Grid(lowest=2.0, step=0.02, n=1402)] * 3
    bins = Bins(lattice=(*longer, *Bins().lattice[3:]))
    grown = ModelSpec(Atoms(max_sites=2, bins=bins), High(), LLAMA, (Density(), Hhi()))
    base = trained(spec)
    model, told = started(grown, base, tmp_path)
    assert told.tokens.new == tuple(f"#{k}" for k in range(1152, 1402))
    assert told.tokens.dropped == ()
    rows = model.state_dict()["language_model.embedding.weight"]
    assert torch.equal(rows[: len(base.vocabulary)], base.language_model.embedding.weight)


def test_tokens_that_would_mean_other_values_are_refused(tmp_path: Path) -> None:
    spec = ModelSpec(Atoms(max_sites=2), High(), LLAMA, ())
    finer = ModelSpec(Atoms(max_sites=2, bins=Bins(n_coordinate=2304)), High(), LLAMA, ())
    with pytest.raises(BadOptions, match=r"bins of fractional_coordinate .* another value"):
        started(finer, trained(spec), tmp_path)


def test_a_vocabulary_from_before_there_were_scales_has_those_of_its_representation(
    tmp_path: Path,
) -> None:
    spec = ModelSpec(Atoms(max_sites=2), High(), LLAMA, ())
    folder = saved(trained(spec), tmp_path)
    old = json.loads((folder / "vocabulary.json").read_text())
    del old["scales"]
    write_json(folder / "vocabulary.json", old)
    assert warm_start(fresh(spec), folder, spec).n_new == 0
    finer = ModelSpec(Atoms(max_sites=2, bins=Bins(n_coordinate=2304)), High(), LLAMA, ())
    with pytest.raises(BadOptions, match="another value"):
        warm_start(fresh(finer), folder, spec)


class Silent(OneBlockNetwork):
    """A network that says nothing of its weights."""

    vocabulary_axes = {}  # type: ignore[assignment]  # noqa: RUF012 - a third party's, as short as it gets
    position_axes = {}  # type: ignore[assignment]  # noqa: RUF012


class HalfSaid(OneBlockNetwork):
    vocabulary_axes = {"token.weight": 0}  # type: ignore[assignment]  # noqa: RUF012


class WronglySaid(OneBlockNetwork):
    vocabulary_axes = {"token.weight": 1}  # type: ignore[assignment]  # noqa: RUF012


class Imagined(OneBlockNetwork):
    vocabulary_axes = {"tokens.weight": 0}  # type: ignore[assignment]  # noqa: RUF012


class Foreign(Backbone):
    """Builds one of these."""

    name = "foreign"
    network: Any = Silent

    def build(self, vocabulary: Vocabulary, max_positions: int) -> Any:
        return self.network(OneBlock(width=16), vocabulary, max_positions)


def test_a_network_that_declares_nothing_can_be_taken_over_with_the_same_tokens(
    tmp_path: Path,
) -> None:
    base = trained(spec_of(Foreign()))
    _, told = started(spec_of(Foreign()), base, tmp_path)
    assert told.n_new == 0


@pytest.mark.parametrize("change", [sorted, lambda names: [*names, "new"]])
def test_a_network_that_declares_nothing_is_refused_with_other_tokens(
    change: Callable[[Any], list[str]], tmp_path: Path
) -> None:
    base = trained(spec_of(Foreign()))
    other = Listed(names=tuple(change(base.vocabulary.names)))
    with pytest.raises(BadOptions, match=r"'foreign' does not say .*vocabulary_axes") as told:
        started(spec_of(Foreign(), other), base, tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("network", "error", "law"),
    [
        (HalfSaid, BadOptions, r"'language_model\.out\.weight' .* let the backbone declare it"),
        (WronglySaid, PluginProblem, r"axis 1 of 'language_model\.token\.weight' is of the 17"),
        (Imagined, PluginProblem, r"axis of 'language_model\.tokens\.weight', which it does not"),
    ],
)
def test_a_wrong_declaration_is_named(
    network: type[OneBlockNetwork], error: type[Exception], law: str, tmp_path: Path
) -> None:
    base = trained(spec_of(Foreign()))
    other = Listed(names=(*base.vocabulary.names, "new", "newer"))
    with pytest.raises(error, match=law):
        started(spec_of(Foreign(network=network), other), base, tmp_path)


def test_undeclared_positions_are_refused_with_another_number_of_slots(tmp_path: Path) -> None:
    base = trained(spec_of(Foreign()))
    spec = spec_of(Foreign(), conditions=(Weight(), Pair(), Height()))
    with pytest.raises(BadOptions, match=r"'language_model\.place\.weight' .* position_axes"):
        started(spec, base, tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"width": 32}, r"'language_model\..*' have the shape .*; take the backbone's settings"),
        ({"layers": 3}, r"has no weights 'language_model\.blocks\.2\..*take its settings"),
        ({"layers": 1}, r"has weights 'language_model\.blocks\.1\..* no place here"),
    ],
)
def test_another_shape_of_the_network_is_refused_and_changes_nothing(
    changes: dict[str, int], told: str, tmp_path: Path
) -> None:
    base = trained(spec_of())
    spec = replace(spec_of(), backbone=LLAMA.model_copy(update=changes))
    model = fresh(spec)
    with pytest.raises(BadOptions, match=told) as error:
        warm_start(model, saved(base, tmp_path), base.spec)
    assert "\n" not in str(error.value)
    untouched = fresh(spec).state_dict()
    assert all(torch.equal(t, untouched[name]) for name, t in model.state_dict().items())


def damage_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


def remove_vocabulary(folder: Path) -> None:
    (folder / "vocabulary.json").unlink()


def change_vocabulary(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "vocabulary.json"
        write_json(path, {**json.loads(path.read_text()), **changes})

    return change


@pytest.mark.parametrize(
    ("damage", "error", "told"),
    [
        (damage_weights, BadFile, "cannot read weights from .*model.safetensors"),
        (lambda f: (f / "model.safetensors").unlink(), BadFile, "cannot read weights from"),
        (remove_vocabulary, BadFile, "cannot read .*vocabulary.json"),
        (change_vocabulary(format=9), NewerFormat, "newer matgen .format 9.*pip install"),
        (change_vocabulary(names=["<start>"]), BadFile, "vocabulary.json is damaged"),
        (change_vocabulary(names=["a"] * 15), BadFile, "vocabulary.json is damaged"),
        (change_vocabulary(continuous=[99]), BadFile, "vocabulary.json is damaged"),
        (change_vocabulary(start=None), BadFile, "vocabulary.json is damaged"),
        (
            change_vocabulary(names=[str(i) for i in range(9)], kinds=["any"] * 9),
            BadFile,
            "not of this run: .* has 15 entries for its 9 tokens",
        ),
    ],
)
def test_a_damaged_run_is_told_in_one_line(
    damage: Callable[[Path], None], error: type[Exception], told: str, tmp_path: Path
) -> None:
    base = trained(spec_of())
    folder = saved(base, tmp_path)
    damage(folder)
    with pytest.raises(error, match=told) as caught:
        warm_start(fresh(base.spec), folder, base.spec)
    assert "\n" not in str(caught.value)


class Deaf:
    def on_step(self, progress: object) -> None: ...
    def on_validation(self, validation: object) -> None: ...
    def on_checkpoint(self, path: Path) -> None: ...


def test_training_starts_from_the_weights_and_fits_no_old_scale_again(tmp_path: Path) -> None:
    base = trained(spec_of())
    folder = saved(base, tmp_path / "base")
    starts = 0

    def start(model: CrystalModel) -> None:
        nonlocal starts
        starts += 1
        warm_start(model, folder, base.spec)

    def go(max_steps: int) -> None:
        settings = TrainingSettings(
            device="cpu", precision="fp32", batch_tokens=60, max_steps=max_steps, learning_rate=1e-9
        )
        stores = Sentences(20, seed=1), Sentences(6, seed=2)
        train(spec_of(), *stores, settings, tmp_path / "run", observer=Deaf(), start=start)

    go(1)
    last = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    for name, tensor in read_tensors(last / "model.safetensors").items():
        torch.testing.assert_close(tensor, base.state_dict()[name], atol=1e-6, rtol=0)
        if ".scale." in name:
            assert torch.equal(tensor, base.state_dict()[name])
    assert starts == 1
    go(2)
    assert starts == 1
