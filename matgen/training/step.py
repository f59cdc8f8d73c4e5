"""One step: gradients of a batch, part by part, then the optimiser, if the gradient is sound.

Nothing here waits for a GPU: whether a step is skipped is decided on the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from matgen.data.batch import Batch
from matgen.nn.crystal_model import CrystalModel, TokenLosses
from matgen.training.batches import to_device
from matgen.training.ema import Ema
from matgen.training.hardware import Hardware
from matgen.training.optimizers import Optimizers
from matgen.training.randomness import restart_random_stream
from matgen.training.ranks import Ranks, without_exchange
from matgen.training.settings import TrainingSettings

CALM_STEPS: Final = 100
"""Sound steps before a gradient can be called unusually long."""
REMEMBERED: Final = 0.98
"""How much of the usual length of the gradient stays from one step to the next."""


class Objective(nn.Module):
    """What training lowers, added up over the tokens of a batch."""

    kind_weights: Tensor

    def __init__(
        self,
        model: CrystalModel,
        settings: TrainingSettings,
        kind_names: Sequence[str],
        *,
        compiled: bool,
    ) -> None:
        """Wrap a model.

        Args:
            model: On its device.
            settings: Label smoothing, weights of token kinds.
            kind_names: Of the store.
            compiled: Run the network through torch.compile.
        """
        super().__init__()
        self.model = model
        self._smoothing = settings.label_smoothing
        weights = [settings.kind_weights.get(kind, 1.0) for kind in kind_names]
        self.register_buffer("kind_weights", torch.tensor(weights), persistent=False)
        self._weighted = bool(settings.kind_weights)
        self._losses: Callable[..., TokenLosses] = model.token_losses
        if compiled:
            # One graph for all lengths: no step has the same number of tokens as another.
            self._losses = torch.compile(model.token_losses, dynamic=True)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum to lower, and the sum of the losses as they are, both ()."""
        losses = self._losses(batch, label_smoothing=self._smoothing)
        plain = losses.total_N.sum()
        if not self._weighted:
            return plain, plain.detach()
        return (losses.total_N * self.kind_weights[losses.kinds_N]).sum(), plain.detach()


class Learner:
    """Takes steps; holds the optimisers, the average of the weights, and what a gradient is like.

    A step whose loss or gradient is not finite, or whose gradient is unusually long, changes
    nothing.
    """

    def __init__(
        self,
        objective: Objective,
        settings: TrainingSettings,
        hardware: Hardware,
        ranks: Ranks,
    ) -> None:
        """Make the optimisers of a model that is on its device."""
        self._settings = settings
        self._hardware = hardware
        self._ranks = ranks
        model = objective.model
        self.optimizers = Optimizers(model, settings)
        self.ema = None if settings.ema_decay is None else Ema(model, settings.ema_decay)
        # Length of a usual gradient, and how many sound ones were seen.
        self._usual = torch.zeros(2, dtype=torch.float64, device=hardware.device)
        self._joined = ranks.joined(objective)

    def learn(
        self,
        parts: Sequence[Batch],
        *,
        n_targets: int,
        step: int,
        rate: float,
        unwanted: Callable[[], bool],
    ) -> Tensor | None:
        """Take a step and return (3,) float64 on the device: loss per token, norm, 1 if skipped.

        Args:
            parts: This rank's, at least one, each small enough for the memory; a rank that has none
                gives any one, with ``n_targets`` 0.
            n_targets: Tokens that the parts of all ranks teach; 0: these parts count nothing.
            step: Steps taken before; selects what dropout draws.
            rate: Learning rate.
            unwanted: Asked between parts; once it is true the step is given up, nothing has
                changed, and None is returned.

        Raises:
            torch.OutOfMemoryError, RuntimeError: the parts are too large; nothing has changed.
        """
        restart_random_stream(
            self._hardware.device, self._settings.seed, 1 + step, self._ranks.rank
        )
        self.optimizers.zero_grad()
        self.optimizers.set_rate(rate)
        loss = torch.zeros((), dtype=torch.float64, device=self._hardware.device)
        # Gradients are averaged over the ranks, and a mean over all tokens is wanted.
        share = self._ranks.size / n_targets if n_targets else 0.0
        for part in parts[:-1]:
            with without_exchange(self._joined):
                loss += self._add_gradient(part, share)
            if unwanted():
                self.optimizers.zero_grad()
                return None
        loss += self._add_gradient(parts[-1], share)
        self._ranks.add_up(loss)
        return self._move(loss / self._ranks.size, step)

    def rehearse(self, part: Batch) -> None:
        """Go through a part without learning from it, to see whether the memory suffices.

        Raises:
            torch.OutOfMemoryError, RuntimeError: it does not.
        """
        with without_exchange(self._joined):
            self._add_gradient(part, 0.0)
        self.optimizers.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on besides the weights."""
        held = {f"optimizer/{name}": t for name, t in self.optimizers.tensors().items()}
        if self.ema is not None:
            held |= {f"ema/{name}": tensor for name, tensor in self.ema.tensors().items()}
        return {**held, "usual": self._usual}

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from saved tensors.

        Raises:
            KeyError, RuntimeError: of another network or other settings.
        """
        self.optimizers.load(_under("optimizer/", saved))
        if self.ema is not None:
            self.ema.load(_under("ema/", saved))
        self._usual.copy_(saved["usual"])

    def _add_gradient(self, part: Batch, share: float) -> Tensor:
        """Return the summed loss, times the share."""
        with self._hardware.autocast():
            to_lower, plain = self._joined(to_device(part, self._hardware.device))
        (to_lower * share).backward()
        told: Tensor = plain.double() * share
        return told

    @torch.no_grad()
    def _move(self, loss: Tensor, step: int) -> Tensor:
        gradients = [p.grad for p in self.optimizers.parameters if p.grad is not None]
        norm = get_total_norm(gradients)
        bad = self._is_bad(loss, norm.double())
        clip_grads_with_norm_(
            self.optimizers.parameters, self._settings.gradient_clip or math.inf, norm
        )
        self.optimizers.step(bad)
        if self.ema is not None:
            self.ema.update(step + 1)
        return torch.stack([loss, norm.double(), bad.double()])

    def _is_bad(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Return () bool, and remember the length of a sound gradient."""
        bad = ~(loss.isfinite() & norm.isfinite())
        usual, seen = self._usual.unbind()
        if self._settings.spike_factor is not None:
            bad |= (seen >= CALM_STEPS) & (norm > self._settings.spike_factor * usual)
        memory = torch.where(seen == 0, 0.0, REMEMBERED)
        now = torch.stack([memory * usual + (1.0 - memory) * norm, seen + 1.0])
        self._usual = torch.where(bad, self._usual, now)
        return bad


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device, or the host, had no memory left for a tensor."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
