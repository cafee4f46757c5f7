"""Angles and shares, against other formulas for them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectra_references import with_values

from auglean.spectra.factors import angles, decompose, ridge_of, slow_share


def orthonormal(n, k, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, k, generator=generator, dtype=torch.float64)).Q


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 6), st.integers(0, 1000))
def test_angles_are_those_of_the_cosines(k, more, seed):
    one, other = orthonormal(k + more, k, seed), orthonormal(k + more, k, seed + 1)
    cosines = torch.linalg.svdvals(one.T @ other).clamp(max=1)
    assert torch.allclose(angles(one, other).flip(0), torch.rad2deg(torch.acos(cosines)), atol=1e-5)


def test_a_small_angle_keeps_its_digits():
    turned = torch.tensor([[1.0], [1e-10]], dtype=torch.float64)
    assert torch.allclose(torch.deg2rad(angles(torch.eye(2, dtype=torch.float64)[:, :1], turned)), turned[1], rtol=1e-9)


def test_alignment_and_slow_share_by_a_linear_system():
    matrix = with_values([5.0, 2.0, 0.1], 9, rows=6)  # three directions of the residual that nothing reaches
    r = torch.randn(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    factors = decompose(matrix)
    ridge = ridge_of(factors)
    assert abs(ridge - 0.05**2) < 1e-12
    solved = torch.linalg.solve(matrix @ matrix.T + ridge * torch.eye(6, dtype=torch.float64), r)
    assert abs(slow_share(factors, r, ridge) - ridge * float(r @ solved) / float(r @ r)) < 1e-9
    shares = factors.alignment(r)
    assert torch.allclose((shares * factors.values**2).sum(), (matrix.T @ r).square().sum() / (r @ r))
    assert shares.sum() < 1
