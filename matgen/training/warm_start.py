"""A fresh model takes over what a trained one learned, by meaning: tokens by name, slots by label.

What only the new model has stays as fresh as it was built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from matgen.atomic import read_tensors
from matgen.errors import BadFile, BadOptions, PluginProblem
from matgen.io.digests import sha256_of
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.value_head import ValueEmbedding, ValueHead, ValueScale
from matgen.roles.representation import Vocabulary

WEIGHTS: Final = "model.safetensors"
VOCABULARY: Final = "vocabulary.json"

_ENCODER = re.compile(r"(conditioner\.encoders\.)(\d+)(\..*)")


@dataclass(frozen=True)
class Change:
    """What became of named things: tokens, or conditions.

    Attributes:
        kept: In both models, with what was learned.
        new: In the new model alone, fresh.
        dropped: In the old model alone.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    @classmethod
    def between(cls, there: Sequence[str], here: Sequence[str]) -> Change:
        """Return the change from the names of the old model to those of the new one."""
        old, now = set(there), set(here)
        return cls(
            kept=tuple(name for name in here if name in old),
            new=tuple(name for name in here if name not in old),
            dropped=tuple(name for name in there if name not in now),
        )


@dataclass(frozen=True)
class WarmStart:
    """What a model took over.

    Attributes:
        sha256: Of the file of weights that it was taken from.
        conditions: By label, prompted ones included.
        n_kept: Learned numbers that the model took over.
        n_new: Numbers still to be learned from scratch.
    """

    sha256: str
    tokens: Change
    conditions: Change
    n_kept: int
    n_new: int


def warm_start(model: CrystalModel, folder: Path, spec: ModelSpec) -> WarmStart:
    """Give a fresh model the best weights of a run, wherever they mean the same.

    Args:
        model: Just built; changed in place, or not at all if this raises.
        folder: Of the run: its weights and its vocabulary are read from here.
        spec: Of the run.

    Raises:
        BadFile: a file of the run is missing, damaged, or from a newer matgen.
        BadOptions: weights that fit nowhere, and those that nothing fits; names them.
        PluginProblem: the network does not have the axes that it declares.
    """
    weights = read_tensors(folder / WEIGHTS)
    digest = sha256_of(folder / WEIGHTS)
    vocabulary = Vocabulary.read(folder / VOCABULARY)
    _check_tokens(model, folder, spec, vocabulary)
    state, taken = model.state_dict(), _taken(model, folder, spec, vocabulary, weights)
    model.load_state_dict(state | {name: tensor for name, (tensor, _) in taken.items()})
    learned = dict(model.named_parameters())
    n_kept = sum(n for name, (_, n) in taken.items() if name in learned)
    return WarmStart(
        sha256=digest,
        tokens=Change.between(vocabulary.names, model.vocabulary.names),
        conditions=Change.between(
            [c.label for c in spec.conditions], [c.label for c in model.spec.conditions]
        ),
        n_kept=n_kept,
        n_new=model.n_parameters - n_kept,
    )


def _check_tokens(model: CrystalModel, folder: Path, spec: ModelSpec, there: Vocabulary) -> None:
    """Refuse vocabularies between which tokens cannot be found again by their names."""
    here = model.vocabulary
    if here.names != there.names and not model.language_model.vocabulary_axes:
        raise BadOptions(
            f"the tokens are not those of {folder}, and backbone {model.spec.backbone.name!r} does "
            "not say which of its weights belong to tokens (LanguageModel.vocabulary_axes): keep "
            "the representation as it is there"
        )
    scales = there.scales or spec.representation.vocabulary().scales
    before = {name: (lowest, step) for name, lowest, step, _ in scales}
    for name, lowest, step, _ in here.scales:
        if (old := before.get(name, (lowest, step))) != (lowest, step):
            raise BadOptions(
                f"bins of {name} begin at {lowest:g} in steps of {step:g} here, in {folder} at "
                f"{old[0]:g} in steps of {old[1]:g}: a token would mean another value than it was "
                "learned for; keep both, bins can only be added at the end"
            )


@dataclass(frozen=True)
class _Axis:
    """What stands along an axis of a tensor, by name, in the new model and in the old one."""

    what: str
    here: Sequence[str]
    there: Sequence[str]

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """(n,) places here and (n,) places there of what both have."""
        old = {name: place for place, name in enumerate(self.there)}
        both = [(place, old[name]) for place, name in enumerate(self.here) if name in old]
        pairs_n2 = torch.tensor(both, dtype=torch.int64).reshape(-1, 2)
        return pairs_n2[:, 0], pairs_n2[:, 1]


def _axes(
    model: CrystalModel, spec: ModelSpec, vocabulary: Vocabulary
) -> dict[str, tuple[int, _Axis]]:
    """Return, for each tensor of the state with entries by name, which axis and which names."""
    tokens = _Axis("tokens", model.vocabulary.names, vocabulary.names)
    continuous = _Axis(
        "continuous tokens",
        [model.vocabulary.names[token] for token in model.vocabulary.continuous],
        [vocabulary.names[token] for token in vocabulary.continuous],
    )
    slots = _Axis("condition slots", _slots(model.spec), _slots(spec))
    positions = _Axis("positions", _positions(model.spec), _positions(spec))
    network = model.language_model
    axes = {
        f"language_model.{name}": (axis, along)
        for along, declared in (
            (tokens, network.vocabulary_axes),
            (positions, network.position_axes),
        )
        for name, axis in declared.items()
    }
    for prefix, module in model.named_modules():
        if isinstance(module, ValueScale):
            axes |= {f"{prefix}.{name}": (0, continuous) for name in module.state_dict()}
        if isinstance(module, ValueHead):
            axes[f"{prefix}.token.weight"] = 0, continuous
    for name, _ in model.conditioner.named_parameters(recurse=False):
        axes[f"conditioner.{name}"] = 0, slots
    return axes


def _slots(spec: ModelSpec) -> list[str]:
    return [condition.label for condition in spec.slotted]


def _positions(spec: ModelSpec) -> list[str]:
    """Return a name for each position of the stream: slots by label, then tokens by number."""
    tokens = [f"token {place}" for place in range(spec.representation.max_tokens)]
    return [*(f"slot {label}" for label in _slots(spec)), *tokens]


def _taken(
    model: CrystalModel,
    folder: Path,
    spec: ModelSpec,
    vocabulary: Vocabulary,
    weights: Mapping[str, Tensor],
) -> dict[str, tuple[Tensor, int]]:
    """Return new contents of the state's tensors, and how many of their numbers were taken over."""
    axes = _axes(model, spec, vocabulary)
    state = model.state_dict()
    if absent := sorted(axes.keys() - state.keys()):
        raise PluginProblem(
            f"backbone {model.spec.backbone.name!r} declares an axis of {absent[0]!r}, which it "
            "does not have"
        )
    continuous = bool(model.vocabulary.continuous), bool(vocabulary.continuous)
    fresh = set(_value_tensors(model)) if continuous == (True, False) else set()
    names = _names_there(model.spec, spec, state)
    taken: dict[str, tuple[Tensor, int]] = {}
    for name, there in names.items():
        if there in weights:
            axis = axes.get(name)
            _check_shape(model, folder, name, state[name], weights[there], axis)
            taken[name] = _moved(state[name], weights[there], axis)
        elif name not in fresh:
            raise BadOptions(
                f"{folder} has no weights {there!r}, and the backbone "
                f"{model.spec.backbone.name!r} needs them; take its settings from there"
            )
    dropped = {
        f"conditioner.encoders.{place}."
        for place, label in enumerate(_slots(spec))
        if label not in _slots(model.spec)
    }
    left = weights.keys() - set(names.values())
    left -= {name for name in left for prefix in dropped if name.startswith(prefix)}
    if left and continuous == (False, True):
        # With every weight of the new network found, what is left can only be of the values.
        left -= {name for name in left if name.startswith("language_model.")}
    if left:
        raise BadOptions(
            f"{folder} has weights {min(left)!r}, for which the backbone "
            f"{model.spec.backbone.name!r} has no place here; take its settings from there"
        )
    return taken


def _names_there(here: ModelSpec, there: ModelSpec, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return names of tensors here to their names there; those of new conditions are left out."""
    slots = {label: place for place, label in enumerate(_slots(there))}
    labels = _slots(here)
    names: dict[str, str] = {}
    for name in state:
        match = _ENCODER.fullmatch(name)
        if match is None:
            names[name] = name
        elif (label := labels[int(match[2])]) in slots:
            names[name] = f"{match[1]}{slots[label]}{match[3]}"
    return names


def _value_tensors(model: CrystalModel) -> Iterator[str]:
    """Yield the names of what continuous tokens add to a network."""
    for prefix, module in model.named_modules():
        if isinstance(module, ValueHead | ValueEmbedding):
            yield from (f"{prefix}.{name}" for name in module.state_dict())


def _check_shape(
    model: CrystalModel,
    folder: Path,
    name: str,
    fresh: Tensor,
    held: Tensor,
    axis: tuple[int, _Axis] | None,
) -> None:
    """Raise unless a tensor fits but for the axis along which its entries have names."""
    here, there = list(fresh.shape), list(held.shape)
    backbone = model.spec.backbone.name
    if axis is not None:
        at, along = axis
        if not 0 <= at < len(here) or here[at] != len(along.here):
            raise PluginProblem(
                f"backbone {backbone!r} declares that axis {at} of {name!r} is of the "
                f"{len(along.here)} {along.what}, and its shape is {here}"
            )
        if len(there) == len(here) and there[at] != len(along.there):
            raise BadFile(
                f"{folder / WEIGHTS} is not of this run: {name!r} has {there[at]} entries for its "
                f"{len(along.there)} {along.what}"
            )
        there[at : at + 1] = here[at : at + 1]
    if here == there:
        return
    hint = "take the backbone's settings from there"
    if axis is None and name.startswith("language_model."):
        hint += ", or, if it has an entry per token or position, let the backbone declare it "
        hint += "(LanguageModel.vocabulary_axes, position_axes)"
    raise BadOptions(
        f"weights {name!r} have the shape {list(held.shape)} in {folder} and {here} here; {hint}"
    )


def _moved(fresh: Tensor, held: Tensor, axis: tuple[int, _Axis] | None) -> tuple[Tensor, int]:
    """Return a tensor with every entry that both have, and how many numbers those are."""
    held = held.to(device=fresh.device, dtype=fresh.dtype)
    if axis is None:
        return held, held.numel()
    at, along = axis
    here_n, there_n = (places.to(fresh.device) for places in along.places)
    found = held.index_select(at, there_n)
    return fresh.index_copy(at, here_n, found), found.numel()
