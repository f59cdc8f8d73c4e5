"""Which optimiser moves which parameter, and a step that a bad gradient leaves without effect."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from matgen.nn.conditioner import Conditioner
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.value_head import ValueEmbedding, ValueHead
from matgen.training.settings import TrainingSettings


class Optimizers:
    """AdamW for all parameters, or for all but the blocks' matrices, which Muon moves.

    Source: AdamW: Loshchilov and Hutter, arXiv:1711.05101. Muon: Jordan et al. (2024) as in
    ``torch.optim.Muon``, its steps scaled to the size of AdamW's (Liu et al., arXiv:2502.16982), so
    that one learning rate serves both. Queries, keys and values (gate and up) of a block are one
    matrix to it, as they are one product.
    """

    def __init__(self, model: CrystalModel, settings: TrainingSettings) -> None:
        """Sort the parameters of a model that is on its device already."""
        groups = _grouped(model)
        muon = groups.pop("blocks") if settings.optimizer == "muon" else []
        decay = {
            "blocks": settings.weight_decay,
            "matrices": settings.weight_decay,
            "embeddings": settings.embedding_weight_decay,
            "vectors": 0.0,
        }
        self._adamw = torch.optim.AdamW(
            [
                {"params": held, "weight_decay": decay[name]}
                for name, held in groups.items()
                if held
            ],
            lr=settings.learning_rate,
            betas=settings.betas,
            fused=True,
        )
        self._muon = (
            torch.optim.Muon(
                muon,
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            if muon
            else None
        )
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that are moved."""
        return [p for one in self._all() for group in one.param_groups for p in group["params"]]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of all."""
        for optimizer in self._all():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self._all():
            optimizer.zero_grad()

    def step(self, bad: Tensor) -> None:
        """Move the parameters along their gradients; where ``bad`` is true nothing changes.

        Args:
            bad: () bool, on the parameters' device. AdamW reads it there, so that a GPU is not
                waited for; Muon has no way to, and asks.
        """
        # What torch's gradient scaler sets: the fused step then leaves everything as it was.
        self._adamw.found_inf = bad.float()  # type: ignore[attr-defined]  # read by name in step()
        self._adamw.step()
        if self._muon is not None and not bool(bad):
            self._muon.step()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def tensors(self) -> dict[str, Tensor]:
        """Return averages and counters, as ``parameter:what``."""
        return {
            f"{self._names[id(parameter)]}:{what}": tensor
            for optimizer in self._all()
            for parameter, held in optimizer.state.items()
            for what, tensor in held.items()
        }

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from saved averages.

        Raises:
            KeyError, RuntimeError: of another network or optimiser.
        """
        by_name: dict[str, dict[str, Tensor]] = {}
        for key, tensor in saved.items():
            name, _, what = key.rpartition(":")
            by_name.setdefault(name, {})[what] = tensor
        for optimizer in self._all():
            ordered = [p for group in optimizer.param_groups for p in group["params"]]
            state = {i: by_name.pop(self._names[id(p)]) for i, p in enumerate(ordered) if by_name}
            for i, held in state.items():
                for what, tensor in held.items():
                    if tensor.ndim and tensor.shape != ordered[i].shape:
                        raise RuntimeError(f"{what} of {self._names[id(ordered[i])]} has no place")
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        if by_name:
            raise KeyError(next(iter(by_name)))

    def _all(self) -> list[torch.optim.Optimizer]:
        return [self._adamw] if self._muon is None else [self._adamw, self._muon]


def _grouped(model: CrystalModel) -> dict[str, list[nn.Parameter]]:
    """Return the parameters by how they decay and which optimiser suits them.

    ``blocks``: weights of linear layers of the language model, without its value parts;
    ``embeddings``: vectors of tokens and of condition slots; ``vectors``: norms and biases;
    ``matrices``: everything else.
    """
    groups: dict[str, list[nn.Parameter]] = {
        "blocks": [],
        "matrices": [],
        "embeddings": [],
        "vectors": [],
    }
    n_vocabulary = len(model.vocabulary)
    inside = set(model.language_model.modules())
    for part in [*inside]:
        if isinstance(part, (ValueHead, ValueEmbedding)):
            inside -= set(part.modules())
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter in seen:
                continue
            seen.add(parameter)
            kind = "matrices"
            if parameter.ndim < 2:
                kind = "vectors"
            elif isinstance(module, (nn.Embedding, Conditioner)):
                kind = "embeddings"
            elif (
                isinstance(module, nn.Linear)
                and module in inside
                and n_vocabulary not in parameter.shape
            ):
                kind = "blocks"
            groups[kind].append(parameter)
    return groups
