"""What is written by hand for a CPU is what torch computes."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import rms_norm

from matgen.nn.elementwise import RmsNorm, add_dropped, by_hand, dropped
from matgen.nn.rope import rotate, rotations


def numbers(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()


def test_hand_written_gradients_are_for_training_on_a_cpu_in_full_precision() -> None:
    x = numbers(3, 4)
    assert by_hand(x)
    assert not by_hand(x.bfloat16())
    with torch.no_grad():
        assert not by_hand(x)


def test_the_norm_is_that_of_torch_and_so_is_its_gradient() -> None:
    x, norm = numbers(5, 3, 8), RmsNorm(8).double()
    with torch.no_grad():
        norm.weight.copy_(1.0 + 0.3 * torch.arange(8))
    torch.testing.assert_close(norm(x), rms_norm(x, (8,), norm.weight))
    assert gradcheck(norm, x)
    weights = []
    for given in (norm(x), rms_norm(x, (8,), norm.weight)):
        (gradient,) = torch.autograd.grad((given * numbers(5, 3, 8)).sum(), norm.weight)
        weights.append(gradient)
    torch.testing.assert_close(weights[0], weights[1])


def test_a_vector_of_zeros_is_normed_to_zeros() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    given = RmsNorm(4)(x)
    given.sum().backward()
    assert torch.equal(given.detach(), torch.zeros(2, 4))
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_turning_by_hand_is_turning() -> None:
    x = numbers(6, 2, 4)
    rotation = rotations(torch.arange(6), 4, 100.0)
    by_torch = rotate(x.detach().bfloat16(), rotation)
    given = rotate(x, rotation)
    with torch.no_grad():
        torch.testing.assert_close(given, rotate(x, rotation))
    torch.testing.assert_close(given.bfloat16(), by_torch, atol=0.05, rtol=0.05)
    assert gradcheck(lambda y: rotate(y, rotation), x)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropping_drops_the_share_it_should_and_keeps_the_mean(p: float) -> None:
    x = torch.ones(1000, 1000, requires_grad=True)
    y = torch.full((1000, 1000), 2.0, requires_grad=True)
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(1).get_state())
        lost, added = dropped(x, p), add_dropped(x, y, p)
    # Five standard deviations of a million draws.
    within = 5 * (p * (1 - p) / 1e6) ** 0.5
    assert float((lost == 0).float().mean()) == pytest.approx(p, abs=within)
    assert float((added == 1).float().mean()) == pytest.approx(p, abs=within)
    kept = lost[lost != 0]
    assert float(kept.detach().min()) == float(kept.detach().max())
    assert float(kept[0].detach()) == pytest.approx(1 / (1 - p), rel=1e-4)
    lost.sum().backward()
    assert torch.equal(x.grad == 0, lost == 0)
    # Neighbours are dropped independently.
    gone = (lost.detach() == 0).float()
    together = float((gone[:, 1:] * gone[:, :-1]).mean())
    assert together == pytest.approx(p * p, abs=5 * p / 1e3)


def test_nothing_is_dropped_with_probability_zero() -> None:
    x, y = numbers(3), numbers(3)
    assert dropped(x, 0.0) is x
    assert torch.equal(add_dropped(x, y, 0.0), x + y)
