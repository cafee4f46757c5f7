"""A matrix with the faces of a network's Jacobian, so that truth is at hand."""

import torch


class Matrix:
    """A dense matrix, asked as a Jacobian is; counts the columns that it was multiplied with."""

    outputs = 1

    def __init__(self, matrix):
        self.matrix, self.shape, self.like, self.images = matrix, tuple(matrix.shape), matrix, matrix
        half = matrix.shape[1] // 2
        self.weights = {"first": matrix[0, :half], "second": matrix[0, half:]}
        self.products = 0

    def times(self, v):
        self.products += v.shape[1]
        return self.matrix @ v

    def transposed(self, u):
        self.products += u.shape[1]
        return self.matrix.T @ u

    def rows(self, weights=None):
        half = self.matrix.shape[1] // 2
        parts = {"first": self.matrix[:, :half], "second": self.matrix[:, half:]}
        return torch.cat([parts[name] for name in weights or parts], 1).clone()

    def blocks(self, size):
        yield from self.matrix.split(3)


def with_values(values, columns, *, seed=0, rows=None):
    """A float64 matrix of the given singular values and random vectors."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.as_tensor(values, dtype=torch.float64)
    left = torch.linalg.qr(torch.randn(rows or len(values), len(values), generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(columns, len(values), generator=generator, dtype=torch.float64)).Q
    return left * values @ right.T


def noise_like(change, *, seed):
    """Gaussian rows, dense, as long as those of `change`."""
    draw = torch.randn(change.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draw * change.norm(dim=1, keepdim=True) / change.shape[1] ** 0.5
