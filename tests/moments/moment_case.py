"""One test case for the moments of every policy: against brute force over its law, and against its own draws."""

from __future__ import annotations

import torch
from torch import Tensor

from auglean.policies import Policy


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def brute(outputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and dense covariance of weighted images `(n, C, H, W)`."""
    flat = outputs.double().flatten(1)
    mean = weights @ flat
    off = flat - mean
    return mean, off.T @ (weights[:, None] * off)


class MomentCase:
    size = (3, 6, 7)
    kind = "exact finite"
    draws = 20_000

    def make(self) -> Policy:
        raise NotImplementedError

    def truth(self, x: Tensor) -> tuple[Tensor, Tensor, float] | None:
        """Mean, dense covariance and tolerance, by another way; `None` where draws are the only one."""
        return None

    def test_it_says_how_it_was_got(self):
        found = self.make().moments(images(*self.size))
        assert found.kind == self.kind
        assert found.nodes >= 1
        assert found.seconds >= 0
        if self.kind.startswith("exact"):
            assert found.error == 0
        else:
            assert found.error > 0

    def test_against_brute_force(self):
        x = images(*self.size)
        truth = self.truth(x)
        if truth is None:
            return
        mean, covariance, tolerance = truth
        found = self.make().moments(x)
        torch.testing.assert_close(found.mean.flatten(), mean, rtol=0, atol=tolerance)
        torch.testing.assert_close(found.dense(), covariance, rtol=0, atol=tolerance)

    def test_against_its_own_draws(self):
        x, policy = images(*self.size), self.make()
        found = policy.moments(x)
        y = policy(x.expand(self.draws, -1, -1, -1).contiguous(), generator=torch.Generator().manual_seed(5)).flatten(1)
        trace = float(found.trace)
        slack = float(found.error) * trace
        # E ‖μ̂ − μ‖² N / tr C = 1, and at most 15.2 at level 1e-4 (one direction: χ²₁)
        distance = float((y.mean(0) - found.mean.flatten()).square().sum())
        norm = float(found.mean.norm())
        assert distance**0.5 <= (15.2 * trace / self.draws) ** 0.5 + float(found.error) * norm + 1e-6
        error = ((float(found.m4) - trace**2) / self.draws) ** 0.5 if float(found.m4) > trace**2 else 0.0
        assert abs(float(y.var(0).sum()) - trace) <= 4 * error + slack + 1e-5 + 20 * trace / self.draws

    def test_every_face_shows_one_covariance(self):
        x = images(*self.size)
        found = self.make().moments(x)
        dense = found.dense()
        d = x.numel()
        assert dense.shape == (d, d)
        torch.testing.assert_close(dense, dense.T, rtol=0, atol=1e-13)
        assert torch.linalg.eigvalsh(dense).min() > -1e-12
        torch.testing.assert_close(dense.diagonal(), found.variance.flatten(), rtol=0, atol=1e-12)
        torch.testing.assert_close(found.variance.sum(), found.trace, rtol=1e-12, atol=1e-12)
        v = images(*self.size, seed=3)
        torch.testing.assert_close(found.matvec(v).flatten(), dense @ v.flatten(), rtol=0, atol=1e-12)
        factor = found.factor()
        torch.testing.assert_close(factor @ factor.T, dense, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.frobenius2, dense.square().sum(), rtol=1e-10, atol=1e-12)
        values, vectors = found.eig(3)
        torch.testing.assert_close(values, torch.linalg.eigvalsh(dense).flip(0)[:3], rtol=0, atol=1e-10)
        torch.testing.assert_close(dense @ vectors.flatten(1).T, vectors.flatten(1).T * values, rtol=0, atol=1e-6)

    def test_a_batch_is_its_images(self):
        x = images(2, *self.size)
        both, policy = self.make().moments(x), self.make()
        if self.kind in ("quadrature", "randomised qmc"):
            return  # the batch goes on until its worst image is within tol
        for i in range(2):
            one = policy.moments(x[i])
            torch.testing.assert_close(both.mean[i], one.mean, rtol=0, atol=1e-12)
            torch.testing.assert_close(both.matvec(x)[i], one.matvec(x[i]), rtol=0, atol=1e-11)
            torch.testing.assert_close(both.m4[i], one.m4, rtol=1e-10, atol=1e-12)

    def test_streaming_changes_nothing(self):
        x = images(*self.size)
        kept = self.make().moments(x)
        few = max(3, kept.nodes // 8)  # nodes at once
        streamed = self.make().moments(x, max_memory=8 * few * x.numel())
        torch.testing.assert_close(streamed.mean, kept.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(streamed.variance, kept.variance, rtol=0, atol=1e-12)
        torch.testing.assert_close(streamed.matvec(x), kept.matvec(x), rtol=0, atol=1e-12)
        torch.testing.assert_close(streamed.m4, kept.m4, rtol=1e-10, atol=1e-12)
