"""What `tol` buys: the error that is promised holds for mean, trace and covariance, and a loose one is cheap."""

from __future__ import annotations

import pytest
import torch
from moment_case import images

from auglean.moments.moments import product
from auglean.policies import Affine, Rotate, Scale, Shear, parse


@pytest.mark.parametrize("policy", [Rotate(15), Scale(0.2), Shear(15)])
@pytest.mark.parametrize("tol", [3e-2, 1e-2, 3e-3])
def test_the_covariance_is_as_near_as_the_error_says(policy, tol):
    x = images(1, 12, 12, seed=1)
    exact, found = policy.moments(x, method="exact"), policy.moments(x, tol=tol)
    truth = exact.dense()
    off = float((found.dense() - truth).norm() / truth.norm())
    assert found.error < tol
    assert off <= max(float(found.error), 1e-12)
    assert float((found.mean - exact.mean).norm() / exact.mean.norm()) <= max(float(found.error), 1e-12)
    assert abs(float(found.trace / exact.trace) - 1) <= max(float(found.error), 1e-12)


def test_the_error_is_that_of_the_covariance_where_mean_and_trace_tell_less():
    x = images(1, 28, 28)
    coarse, fine = (Rotate(30).moments(x, tol=1e9, most=most) for most in (16, 4096))
    assert coarse.nodes == 16
    assert fine.nodes == 16
    truth = Rotate(30).moments(x, tol=1e-4, most=16_384)
    off = float((coarse.dense() - truth.dense()).norm() / truth.dense().norm())
    assert abs(float(coarse.trace / truth.trace) - 1) < off / 4
    assert off / 2 < float(coarse.error) < 4 * off


@pytest.mark.parametrize("policy", [Scale(0.2), Shear(15)])
def test_a_loose_tolerance_takes_few_nodes_in_place_of_many_exact_panels(policy):
    x = torch.linspace(0, 1, 28, dtype=torch.float64).expand(1, 28, 28).contiguous()
    exact, cheap = policy.moments(x), policy.moments(x, tol=1e-2)
    assert exact.kind == "exact panels"
    assert cheap.kind == "quadrature"
    assert cheap.nodes <= 32 < exact.nodes


def test_each_image_of_a_batch_stops_by_itself():
    along = torch.linspace(-2, 2, 20, dtype=torch.float64)
    smooth = torch.exp(-along.square() - (along[:, None] - 0.5).square())[None]
    x = torch.stack([images(1, 20, 20), smooth, images(1, 20, 20, seed=2), smooth.mT])
    both = Rotate(20).moments(x)
    alone = [Rotate(20).moments(one) for one in x]
    assert len({one.nodes for one in alone}) > 1
    assert both.nodes == max(one.nodes for one in alone)
    v = images(4, 1, 20, 20, seed=5)
    factor = both.factor()
    for i, one in enumerate(alone):
        torch.testing.assert_close(both.mean[i], one.mean, rtol=0, atol=1e-13)
        torch.testing.assert_close(both.variance[i], one.variance, rtol=0, atol=1e-13)
        torch.testing.assert_close(both.error[i], one.error, rtol=1e-9, atol=0)
        torch.testing.assert_close(both.matvec(v)[i], one.matvec(v[i]), rtol=0, atol=1e-12)
        torch.testing.assert_close(factor[i] @ factor[i].T, one.dense(), rtol=0, atol=1e-10)
        torch.testing.assert_close(both.dense()[i], one.dense(), rtol=0, atol=1e-12)
        torch.testing.assert_close(both.m4[i], one.m4, rtol=1e-10, atol=0)
        torch.testing.assert_close(both.frobenius2[i], one.frobenius2, rtol=1e-10, atol=0)


def test_streaming_changes_no_error():
    x = images(2, 1, 16, 16)
    kept, streamed = (Rotate(15).moments(x, max_memory=limit) for limit in (2**29, 2**18))
    torch.testing.assert_close(streamed.error, kept.error, rtol=1e-9, atol=0)
    assert streamed.nodes == kept.nodes


@pytest.mark.parametrize("policy", [parse("rotate15"), Affine(degrees=10, shear=5)])
def test_rows_without_variance_are_left_out_of_the_product(policy):
    x = torch.zeros(2, 1, 16, 16, dtype=torch.float64)
    x[0, 0, 5:9, 6:10] = images(4, 4)
    x[1, 0, 7:11, 3:6] = images(4, 3)
    found = policy.moments(x, tol=1e-2)
    columns = found.covariance.columns()
    torch.testing.assert_close(found.dense(), columns @ columns.mT, rtol=0, atol=1e-15)
    live = columns.abs().amax((0, 2)) > 0
    assert live.double().mean() < 0.5
    torch.testing.assert_close(product(columns, live), columns @ columns.mT, rtol=0, atol=1e-15)
