from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from matgen.nn.value_head import ValueDistribution, ValueEmbedding, ValueHead

CENTRES = st.lists(st.floats(-20, 20), min_size=3, max_size=3)
LOG_SCALES = st.lists(st.floats(-6, 3), min_size=3, max_size=3)
UNIFORM = st.floats(1e-9, 1 - 1e-9)


def mixture(centres: list[float], log_scales: list[float]) -> ValueDistribution:
    weights = torch.tensor([0.3, -1.0, 1.2])
    return ValueDistribution(weights, torch.tensor(centres), torch.tensor(log_scales))


def integral(distribution: ValueDistribution, low: float, high: float, *bounds: Tensor) -> float:
    """Riemann sum of the density; an independent look at its normalisation."""
    grid = torch.linspace(low, high, 200_001, dtype=torch.float64)
    middle = (grid[1:] + grid[:-1]) / 2
    return float((distribution.log_prob(middle, *bounds).exp() * (grid[1] - grid[0])).sum())


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 0.5), (30.0, 31.0)])
def test_the_density_between_bounds_sums_to_one(low: float, high: float) -> None:
    distribution = mixture([0.2, -1.0, 4.0], [-1.0, 0.5, -2.0])
    bounds = torch.tensor(low), torch.tensor(high)
    assert integral(distribution, low, high, *bounds) == pytest.approx(1.0, abs=1e-3)


def test_the_density_without_bounds_sums_to_one() -> None:
    distribution = mixture([0.2, -1.0, 4.0], [-1.0, 0.5, -2.0])
    assert integral(distribution, -60.0, 60.0) == pytest.approx(1.0, abs=1e-3)


@settings(max_examples=200, deadline=None)
@given(CENTRES, LOG_SCALES, UNIFORM, UNIFORM, st.floats(-50, 50), st.floats(0, 10))
def test_samples_are_finite_and_inside_bounds_however_unlikely_these_are(
    centres: list[float], scales: list[float], u: float, w: float, low: float, gap: float
) -> None:
    bounds = torch.tensor(low), torch.tensor(low + gap)
    drawn = mixture(centres, scales).sample(torch.tensor(u), torch.tensor(w), *bounds)
    assert bounds[0] <= drawn <= bounds[1]


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-0.9, 3.0), (2.9, 5.0)])
def test_samples_follow_the_density(bounds: tuple[float, float]) -> None:
    distribution = mixture([0.2, -1.0, 4.0], [-1.0, 0.5, -0.7])
    low, high = torch.tensor(bounds[0]), torch.tensor(bounds[1])
    n = 40_000
    generator = torch.Generator().manual_seed(3)
    u, w = torch.rand(2, n, generator=generator, dtype=torch.float64)
    drawn = distribution.sample(u, w, low.expand(n), high.expand(n))
    for part in (0.25, 0.5, 0.8):
        cut = bounds[0] + part * (bounds[1] - bounds[0])
        grid = torch.linspace(bounds[0], cut, 20_001, dtype=torch.float64)
        middle = (grid[1:] + grid[:-1]) / 2
        wanted = (distribution.log_prob(middle, low, high).exp() * (grid[1] - grid[0])).sum()
        # Four standard errors of a share of 40,000.
        assert float((drawn < cut).float().mean()) == pytest.approx(float(wanted), abs=0.01)


def test_the_mean_is_that_of_many_samples() -> None:
    distribution = mixture([0.2, -1.0, 4.0], [-1.0, 0.5, -0.7])
    generator = torch.Generator().manual_seed(4)
    u, w = torch.rand(2, 40_000, generator=generator, dtype=torch.float64)
    drawn = distribution.sample(u, w)
    assert float(drawn.mean()) == pytest.approx(float(distribution.mean), abs=0.06)


def test_a_component_far_outside_the_bounds_is_chosen_as_rarely_as_its_mass_says() -> None:
    # Weights 1:1, but the second has nearly no mass between 0 and 1.
    distribution = ValueDistribution(
        torch.zeros(2), torch.tensor([0.5, 40.0]), torch.tensor([-3.0, -1.0])
    )
    u = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    low, high = torch.zeros(999), torch.ones(999)
    drawn = distribution.sample(u, torch.full((999,), 0.5, dtype=torch.float64), low, high)
    torch.testing.assert_close(drawn, torch.full((999,), 0.5), atol=1e-6, rtol=0)


def test_log_prob_has_finite_gradients_far_in_the_tails() -> None:
    centres = torch.tensor([0.0, 1.0], requires_grad=True)
    scales = torch.tensor([-6.0, -6.0], requires_grad=True)
    distribution = ValueDistribution(torch.zeros(2), centres, scales)
    distribution.log_prob(torch.tensor(1e3), torch.tensor(900.0), torch.tensor(1100.0)).backward()
    assert centres.grad is not None
    assert scales.grad is not None
    assert bool(torch.isfinite(centres.grad).all())
    assert bool(torch.isfinite(scales.grad).all())


def test_the_head_learns_a_different_distribution_for_each_token() -> None:
    head = ValueHead((3, 5), 8, 4, components=4)
    ids = torch.tensor([3, 5]).repeat(64)
    values = torch.tensor([0.25, 90.0]).repeat(64)
    head.scale.fit(ids, values + torch.linspace(-0.1, 0.1, 128))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    hidden = torch.ones(128, 4)
    for _ in range(200):
        optimiser.zero_grad()
        (-head(hidden, ids).log_prob(values).mean()).backward()
        optimiser.step()
    mean = head(hidden, ids).mean.detach()
    torch.testing.assert_close(mean, values, atol=0.1, rtol=0)


def test_casting_to_sixteen_bits_moves_no_centre() -> None:
    head = ValueHead((1,), 3, 4, components=2)
    head.scale.fit(torch.tensor([1, 1]), torch.tensor([90.123, 90.987]))
    before = head.scale.centre_C.clone(), head.scale.spread_C.clone()
    head.to(torch.bfloat16)
    assert torch.equal(head.scale.centre_C.float(), before[0])
    assert torch.equal(head.scale.spread_C.float(), before[1])


def test_values_count_only_where_the_token_is_continuous() -> None:
    embedding = ValueEmbedding((2,), 4, 6)
    ids = torch.tensor([0, 2, 2, 3])
    found = embedding(ids, torch.tensor([math.nan, 0.5, 0.75, 1e30]))
    assert bool((found[[0, 3]] == 0).all())
    assert not torch.allclose(found[1], found[2])
