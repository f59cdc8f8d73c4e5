"""Continuous tokens: how their values enter the network, and the distribution it gives them.

Axes: D width, K mixture components, C continuous tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

NARROWEST = -7.0
"""Log of the narrowest component in units of the values' spread (0.1 %): a value that is always the
same would otherwise drive the density, and the loss, to infinity."""

_NO_GAP = 1e-12
"""Two bounds this close (in scales of a component) count as one value."""


class ValueDistribution:
    """A mixture of K logistic distributions for each of (…) values.

    Bounds, where given, truncate the mixture as a whole: outside them the density is 0, inside the
    proportions stay.

    Source: logistic mixtures as in PixelCNN++ (arXiv:1701.05517, section 2.1), not discretised.
    """

    def __init__(self, log_weights_K: Tensor, centres_K: Tensor, log_scales_K: Tensor) -> None:
        """Wrap parameters.

        Args:
            log_weights_K: (…, K) unnormalised logs of the components' weights.
            centres_K: (…, K) in the value's unit.
            log_scales_K: (…, K) logs of the scales in the value's unit.
        """
        self._log_weights = log_weights_K.log_softmax(dim=-1)
        self._centres = centres_K
        self._log_scales = log_scales_K

    @property
    def mean(self) -> Tensor:
        """(…) mean of the mixture without bounds."""
        return (self._log_weights.exp() * self._centres).sum(dim=-1)

    def __getitem__(self, rows: slice) -> ValueDistribution:
        """Return the distributions of some rows."""
        return ValueDistribution(
            self._log_weights[rows], self._centres[rows], self._log_scales[rows]
        )

    def log_prob(
        self, values: Tensor, low: Tensor | None = None, high: Tensor | None = None
    ) -> Tensor:
        """Return (…) natural log of the density per unit of the value.

        Args:
            values: (…), within the bounds.
            low: (…) lowest value possible; None: no bound.
            high: (…) highest value possible; None: no bound.
        """
        z = self._standard(values)
        log_density = logsigmoid(z) + logsigmoid(-z) - self._log_scales
        joint = torch.logsumexp(self._log_weights + log_density, dim=-1)
        if low is None and high is None:
            return joint
        log_mass = self._log_mass(*self._bounds(low, high))
        return joint - torch.logsumexp(self._log_weights + log_mass, dim=-1)

    def sample(
        self,
        uniform_1: Tensor,
        uniform_2: Tensor,
        low: Tensor | None = None,
        high: Tensor | None = None,
    ) -> Tensor:
        """Return (…) float32 values between the bounds, by inverting the distribution function.

        Args:
            uniform_1: (…) in (0, 1); picks the component.
            uniform_2: (…) in (0, 1); picks the place within it.
            low: (…) lowest value possible; None: no bound.
            high: (…) highest value possible; None: no bound.
        """
        wide = ValueDistribution(
            self._log_weights.double(), self._centres.double(), self._log_scales.double()
        )
        drawn = wide._invert(uniform_1.double(), uniform_2.double(), low, high).float()
        # Rounding to float32 may step over the edge of the range.
        if low is not None:
            drawn = torch.maximum(drawn, low.float())
        if high is not None:
            drawn = torch.minimum(drawn, high.float())
        return drawn

    def _invert(self, u_1: Tensor, u_2: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
        a_K, b_K = self._bounds(low, high)
        log_mass_K = self._log_mass(a_K, b_K)
        shares_K = (self._log_weights + log_mass_K).softmax(dim=-1).cumsum(dim=-1)
        passed_K = shares_K < u_1[..., None] * shares_K[..., -1:]
        chosen = passed_K.sum(dim=-1, keepdim=True).clamp(max=shares_K.shape[-1] - 1)
        a, b, log_mass, centre, log_scale = (
            part.expand_as(passed_K).gather(-1, chosen).squeeze(-1)
            for part in (a_K, b_K, log_mass_K, self._centres, self._log_scales)
        )
        # Both tails in logs: a component far outside the bounds has all its mass in one of them.
        log_below = torch.logaddexp(logsigmoid(a), u_2.log() + log_mass)
        log_above = torch.logaddexp(logsigmoid(-b), torch.log1p(-u_2) + log_mass)
        return centre + log_scale.exp() * (log_below - log_above)

    def _standard(self, values: Tensor) -> Tensor:
        """Return (…, K) distances from the centres in scales."""
        offsets: Tensor = (values[..., None] - self._centres) * (-self._log_scales).exp()
        return offsets

    def _bounds(self, low: Tensor | None, high: Tensor | None) -> tuple[Tensor, Tensor]:
        a_K = torch.full_like(self._centres, -math.inf) if low is None else self._standard(low)
        b_K = torch.full_like(self._centres, math.inf) if high is None else self._standard(high)
        return a_K, b_K

    @staticmethod
    def _log_mass(a_K: Tensor, b_K: Tensor) -> Tensor:
        """Log of σ(b) - σ(a) = σ(b) σ(-a) (1 - exp(a - b)), which never subtracts near-equals."""
        gap_K = (b_K - a_K).clamp(min=_NO_GAP)
        return logsigmoid(b_K) + logsigmoid(-a_K) + (-torch.expm1(-gap_K)).log()


class ValueScale(nn.Module):
    """Centre and spread of each continuous token's values, so that the network sees unit numbers.

    Set once from the training data and saved with the weights; without it values count as they are.
    """

    centre_C: Tensor
    spread_C: Tensor
    _row_V: Tensor

    def __init__(self, continuous: Sequence[int], n_vocabulary: int) -> None:
        """Make room for the continuous tokens.

        Args:
            continuous: Their ids.
            n_vocabulary: V.
        """
        super().__init__()
        self.continuous = tuple(continuous)
        self.register_buffer("centre_C", torch.zeros(len(self.continuous)))
        self.register_buffer("spread_C", torch.ones(len(self.continuous)))
        row_V = torch.zeros(n_vocabulary, dtype=torch.int64)
        row_V[list(self.continuous)] = torch.arange(len(self.continuous))
        self.register_buffer("_row_V", row_V, persistent=False)

    def fit(self, ids: Tensor, values: Tensor) -> None:
        """Set centre and spread from (T,) tokens and values; tokens not met stay as they are.

        Both are rounded to what 16 bits can hold, so that casting the network moves no value.
        """
        for row, token in enumerate(self.continuous):
            met = values[ids == token].double()
            if len(met):
                spread = met.std(correction=0).bfloat16().float()
                self.centre_C[row] = met.mean().bfloat16().float()
                self.spread_C[row] = spread if spread > 1e-6 else 1.0

    def rows(self, ids: Tensor) -> Tensor:
        """Return (…) places of continuous ids among the continuous tokens; 0 for all others."""
        return self._row_V[ids]


class ValueEmbedding(nn.Module):
    """What is added to the embedding of a continuous token to say its value."""

    def __init__(
        self, continuous: Sequence[int], n_vocabulary: int, width: int, *, octaves: int = 8
    ) -> None:
        """Make the layer.

        Args:
            continuous: Ids of the continuous tokens.
            n_vocabulary: V.
            width: D.
            octaves: Fourier features have wavelengths of 16, 8, 4 … spreads, this many.
        """
        super().__init__()
        self.scale = ValueScale(continuous, n_vocabulary)
        self.octaves = octaves
        self.linear = nn.Linear(2 * octaves + 1, width)
        continuous_V = torch.zeros(n_vocabulary, dtype=torch.bool)
        continuous_V[list(continuous)] = True
        self.register_buffer("_continuous_V", continuous_V, persistent=False)

    _continuous_V: Tensor

    def forward(self, ids: Tensor, values: Tensor) -> Tensor:
        """Return (…, D); zero where the id is not continuous, whatever its value says.

        Args:
            ids: (…) int64.
            values: (…) float32.
        """
        carries = self._continuous_V[ids]
        rows = self.scale.rows(ids)
        centre, spread = self.scale.centre_C[rows].float(), self.scale.spread_C[rows].float()
        scaled = torch.where(carries, (values - centre) / spread, 0.0)[..., None]
        octave = torch.arange(self.octaves, device=values.device, dtype=torch.float32)
        angles = scaled * (2.0 * math.pi / 16.0) * 2.0**octave
        features = torch.cat([scaled, angles.sin(), angles.cos()], dim=-1)
        embedded: Tensor = self.linear(features.to(self.linear.weight.dtype))
        return embedded * carries[..., None].to(embedded.dtype)


class ValueHead(nn.Module):
    """From a hidden state and the continuous token to come, the distribution of its value."""

    def __init__(
        self, continuous: Sequence[int], n_vocabulary: int, width: int, *, components: int
    ) -> None:
        """Make the head.

        Args:
            continuous: Ids of the continuous tokens.
            n_vocabulary: V.
            width: D.
            components: K.
        """
        super().__init__()
        self.scale = ValueScale(continuous, n_vocabulary)
        self.token = nn.Embedding(len(continuous), width)
        self.mix = nn.Linear(width, width)
        self.out = nn.Linear(width, 3 * components)
        # Components start apart, evenly over the usual range; equal ones would never part.
        with torch.no_grad():
            start_3K = torch.zeros(3, components)
            start_3K[1] = torch.linspace(-1.5, 1.5, components) if components > 1 else 0.0
            start_3K[2] = -math.log(components)
            self.out.bias.copy_(start_3K.flatten())

    def forward(self, hidden_D: Tensor, ids: Tensor) -> ValueDistribution:
        """Return the distribution of the next value, were the next token ``ids``.

        Args:
            hidden_D: (…, D) hidden states.
            ids: (…) int64 continuous tokens; others give a distribution without meaning.
        """
        rows = self.scale.rows(ids)
        mixed = torch.nn.functional.silu(self.mix(hidden_D + self.token(rows)))
        parts = self.out(mixed).float().unflatten(-1, (3, -1))
        centre = self.scale.centre_C[rows].float()[..., None]
        spread = self.scale.spread_C[rows].float()[..., None]
        log_scales = NARROWEST + softplus(parts[..., 2, :] - NARROWEST)
        return ValueDistribution(
            parts[..., 0, :], centre + spread * parts[..., 1, :], log_scales + spread.log()
        )
