"""What keeps vectors at least so long: bins of a coordinate, values of a length or an angle.

The vector with fractional components x, y, z has the squared length

    x²a² + y²b² + z²c² + 2 yz bc cos α + 2 xz ac cos β + 2 xy ab cos γ,

a quadratic in a coordinate and in a length, and linear in the cosine of each angle. So every vector
forbids one interval of z and one side of an angle, and no value has to be tried. What is not yet
written takes the value that makes the vector longest: such limits are necessary, and the last one,
of gamma, is exact.

Axes: R rows, K intervals, Q vectors of any rows; 3 is x, y, z, or the angles opposite to them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def free_bins(low_RK: Tensor, high_RK: Tensor, n: int) -> Tensor:
    """Return (R, n) bool: the bins that lie strictly inside no interval, modulo n.

    Args:
        low_RK: Lower ends, in bins, any real.
        high_RK: Upper ends; an interval that ends where it begins, or before, holds nothing.
        n: Bins in a period.
    """
    first = low_RK.floor() + 1
    count = (high_RK.ceil() - first).clamp(0, n).long()
    begin = first.remainder(n).long()
    held = (count > 0).int()
    marks = torch.zeros((len(begin), 2 * n + 1), dtype=torch.int32, device=begin.device)
    marks = marks.scatter_add(1, begin, held).scatter_add(1, begin + count, -held)
    inside = marks.cumsum(1, dtype=torch.int32)[:, : 2 * n] > 0
    return ~(inside[:, :n] | inside[:, n:])


def z_in_cell(
    x: Tensor, y: Tensor, lengths_3: Tensor, cosines_3: Tensor, squared: float
) -> tuple[Tensor, Tensor]:
    """Return the ends of the interval of z with which (x, y, z) is too short; equal where none is.

    Args:
        x: First fractional component, any shape.
        y: Second.
        lengths_3: (…, 3) a, b, c; leading axes broadcast with x and y.
        cosines_3: (…, 3) of alpha, beta, gamma.
        squared: Square of the distance.
    """
    a, b, c = lengths_3.unbind(-1)
    cos_alpha, cos_beta, cos_gamma = cosines_3.unbind(-1)
    across, along = x * a, y * b
    middle = -(across * cos_beta + along * cos_alpha)
    rest = across**2 + along**2 + 2 * across * along * cos_gamma - squared
    half = (middle**2 - rest).clamp(min=0).sqrt()
    return (middle - half) / c, (middle + half) / c


def z_in_any_cell(
    x: Tensor, y: Tensor, longest_3: Tensor, cosine: float, squared: float
) -> tuple[Tensor, Tensor]:
    """Return the ends of the interval of z with which (x, y, z) is too short in every cell.

    Args:
        x: First fractional component.
        y: Second.
        longest_3: (3,) largest a, b, c.
        cosine: Largest magnitude of the cosine of an angle.
        squared: Square of the distance.
    """
    a, b, c = longest_3.unbind()
    across, along = x.abs() * a, y.abs() * b
    middle = -cosine * (across + along)
    rest = across**2 + along**2 + 2 * cosine * across * along - squared
    # A smaller root below 0 and a larger one above; |z| counts.
    half = ((middle**2 - rest).clamp(min=0).sqrt() + middle).clamp(min=0) / c
    return -half, half


def shortest_length(
    frac_Q3: Tensor, lengths_Q3: Tensor, cosines_Q32: Tensor, which_Q3: Tensor, squared: float
) -> Tensor:
    """Return (Q,) the least value of one length with which each vector can be long enough.

    Args:
        frac_Q3: Vectors.
        lengths_Q3: The other lengths of each vector's cell, largest values where they are free.
        cosines_Q32: Smallest and largest cosine of each angle.
        which_Q3: bool, the length that is asked for.
        squared: Square of the distance.
    """
    others_Q3 = frac_Q3 * lengths_Q3.masked_fill(which_Q3, 0.0)
    own_Q3 = frac_Q3 * which_Q3
    without = _products(others_Q3)
    # Per Å of the length that is asked for. Never below 0: then more length is more distance.
    linear = _longest(_products(others_Q3 + own_Q3) - without, cosines_Q32).clamp(min=0).sum(-1)
    rest = (others_Q3**2).sum(-1) + _longest(without, cosines_Q32).clamp(min=0).sum(-1)
    lacking = squared - rest
    root = (linear**2 + 4 * (own_Q3**2).sum(-1) * lacking.clamp(min=0)).sqrt()
    # Infinite where a vector has no component along it and lacks something.
    return (2 * lacking / (linear + root)).masked_fill(lacking <= 0, 0.0)


def cosine_limits(
    frac_Q3: Tensor, lengths_Q3: Tensor, cosines_Q32: Tensor, which_Q3: Tensor, squared: float
) -> tuple[Tensor, Tensor]:
    """Return (Q,) lowest and highest cosine of one angle that can make each vector long enough.

    Args:
        frac_Q3: Vectors.
        lengths_Q3: All lengths of each vector's cell.
        cosines_Q32: Smallest and largest cosine of the other angles.
        which_Q3: bool, the angle that is asked for.
        squared: Square of the distance.
    """
    vectors_Q3 = frac_Q3 * lengths_Q3
    products = _products(vectors_Q3)
    other = _longest(products, cosines_Q32).masked_fill(which_Q3, 0.0).sum(-1)
    lacking = squared - (vectors_Q3**2).sum(-1) - other
    slope = (products * which_Q3).sum(-1)
    bound = lacking / slope.where(slope != 0, 1.0)
    low = bound.masked_fill(slope <= 0, -torch.inf)
    low = low.masked_fill((slope == 0) & (lacking > 0), torch.inf)
    return low, bound.masked_fill(slope >= 0, torch.inf)


def _products(vectors_3: Tensor) -> Tensor:
    """Return (…, 3) what the cosines of alpha, beta, gamma are multiplied by."""
    x, y, z = vectors_3.unbind(-1)
    return 2 * torch.stack([y * z, x * z, x * y], dim=-1)


def _longest(products_Q3: Tensor, cosines_Q32: Tensor) -> Tensor:
    """Return (Q, 3) the largest terms that the cosines can give."""
    smallest, largest = cosines_Q32.unbind(-1)
    return torch.maximum(products_Q3 * smallest, products_Q3 * largest)
