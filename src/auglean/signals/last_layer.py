"""Quadratic forms `gᵀ H⁻¹ g` of the gradients `g = r ⊗ x̃` of a softmax layer: exact, and by EK-FAC.

The Hessian of `Σ_i w_i ℓ_i + ‖W‖² / (2C)`, with one weight vector for each of K classes and free intercepts, is
`H = Σ_i w_i (diag p_i − p_i p_iᵀ) ⊗ x̃_i x̃_iᵀ + ridge`. Both methods work in the eigenbasis of the features'
covariance, about their mean, each direction scaled by its share of H. That changes no form, since the intercept
takes up the shift and the ridge is the same in all directions; it separates the intercept, and leaves H so well
conditioned that float32 suffices.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from auglean.products import inner_products

#: Rows that are worked on at once: for the sums over examples, and for their forms.
_SUM_ROWS, _FORM_ROWS = 4096, 2048


class LastLayer:
    """Features, probabilities and weights of the layer, in the coordinates described above.

    Args:
        features: Shape `(n, d)`; products are made in their precision, sums over batches in float64.
        probabilities: Shape `(n, K)`, float64.
        weight: Weights of the examples. Shape `(n,)`, float64.
        C: Inverse strength of the penalty.
    """

    def __init__(self, features: Tensor, probabilities: Tensor, weight: Tensor, C: float) -> None:
        self.features = features.detach()
        if features.dtype != torch.float64:
            self.features = self.features.float()
        self.p, self.weight = probabilities, weight
        self.mean = (weight.to(self.features) @ self.features) / weight.sum().to(self.features)
        d = features.shape[1]
        total = torch.zeros(d, d, dtype=torch.float64, device=features.device)
        for rows in self._slices(_SUM_ROWS):
            u = (self.features[rows] - self.mean).mul_(weight[rows, None].sqrt().to(self.features))
            u = u.T.contiguous()  # (d, b)
            total += inner_products(u, u)
        values, vectors = torch.linalg.eigh(total)
        # each class's block of H is the covariance times about p (1 − p)
        self.curvature = float((weight[:, None] * probabilities * (1 - probabilities)).sum() / probabilities.shape[1])
        share = self.curvature / float(weight.sum())
        scale = (values.clamp(min=0) * share + 1 / C).rsqrt()  # (d,)
        self.ridge = torch.cat([scale.square() / C, scale.new_zeros(1)])  # (d + 1,), the intercept's last
        self.turn = torch.zeros(d + 1, d + 1, dtype=torch.float64, device=features.device)
        self.turn[:d, :d] = (vectors * scale).T
        # where the model is certain of all examples, nothing holds the intercepts: a floor keeps the forms finite
        self.turn[d, d] = max(self.curvature, 1e-12 * float(weight.sum())) ** -0.5
        self.turn = self.turn.to(self.features)

    def _slices(self, rows: int) -> Iterator[slice]:
        return (slice(begin, begin + rows) for begin in range(0, len(self.features), rows))

    def _coordinates(self, rows: slice) -> Tensor:
        """Give the coordinates of some examples, that of the intercept last. Shape `(b, d + 1)`."""
        x = self.features[rows]
        moved = x.new_ones(len(x), x.shape[1] + 1)
        torch.sub(x, self.mean, out=moved[:, :-1])
        return inner_products(moved, self.turn)

    def ek_fac(self, residual: Tensor) -> Tensor:
        """Approximate the forms in the Kronecker-factored eigenbasis with the true Fisher (George et al. 2018).

        The bases are those of `S = Σ w (diag p − ppᵀ)` and of the covariance; `Λ_jk = Σ_i w_i Var_y[(Uᵀr)_j] (Vᵀx̃)_k²`,
        where y is drawn from p_i, is the diagonal of H in them. Exact where H is a Kronecker product.

        Args:
            residual: Shape `(n, K)`.

        Returns:
            Shape `(n,)`, float64.
        """
        p, w = self.p, self.weight
        mass = w @ p
        classes = torch.linalg.eigh(mass.diag() - (p.T * w) @ p)[1][:, 1:]  # the first shifts all classes alike
        variance = p @ classes.square() - (p @ classes).square()  # (n, K − 1)
        variance = (variance.clamp(min=0) * w[:, None]).to(self.features)
        fisher: Tensor = torch.zeros(classes.shape[1], len(self.turn), dtype=torch.float64, device=p.device)
        squares = torch.empty(len(p), len(self.turn), dtype=self.features.dtype, device=p.device)
        for rows in self._slices(_FORM_ROWS):
            torch.square(self._coordinates(rows), out=squares[rows])
            fisher += variance[rows].T @ squares[rows]
        inverse = 1 / (fisher + self.ridge).clamp(min=torch.finfo(torch.float64).eps)  # (K − 1, d + 1)
        energy = (residual @ classes).square().to(squares)
        forms: Tensor = (energy * (squares @ inverse.T.to(squares))).sum(1, dtype=torch.float64)
        return forms

    def exact(self, residual: Tensor) -> Tensor:
        """Give the forms, by the Cholesky factor of H.

        Rows of residuals sum to zero, so that the weights of one class can be held at 0 and H has K − 1 classes: with
        the others' weights relative to it, the least ridge is `(δ_ab − 1/K) / C`. Its blocks are summed below the
        diagonal only, as products of features times probabilities; the factor is inverted once, and the form of an
        example is the squared length of `L⁻¹ g`.

        Args:
            residual: Shape `(n, K)`.

        Returns:
            Shape `(n,)`, float64.
        """
        kept = torch.ones(self.p.shape[1], dtype=torch.bool, device=self.p.device)
        kept[(self.weight @ self.p).argmax()] = False
        inverse = self._inverse_root(self.p[:, kept])
        d, k = len(self.turn), int(kept.sum())
        blocks = [inverse[a * d : (a + 1) * d, : (a + 1) * d].contiguous() for a in range(k)]
        del inverse
        residual = residual[:, kept].to(self.features)
        forms = torch.zeros(len(residual), dtype=torch.float64, device=self.p.device)
        for rows in self._slices(_FORM_ROWS):
            g = (residual[rows, :, None] * self._coordinates(rows)[:, None, :]).flatten(1)  # (b, (K − 1)(d + 1))
            for a, block in enumerate(blocks):
                solved = inner_products(g[:, : (a + 1) * d].contiguous(), block)  # (b, d + 1)
                forms[rows] += torch.linalg.vector_norm(solved, dim=1).double().square()
        return forms

    def _inverse_root(self, p: Tensor) -> Tensor:
        """Give `L⁻¹` with `H = L Lᵀ`, the classes one after the other. Shape `((K − 1)(d + 1), …)`."""
        d, k = len(self.turn), p.shape[1]
        hessian = torch.zeros(k * d, k * d, dtype=torch.float64, device=p.device)
        root_weight = self.weight.sqrt()[:, None]
        for rows in self._slices(_SUM_ROWS):
            u = self._coordinates(rows).mul_(root_weight[rows].to(self.features)).T.contiguous()  # (d + 1, b)
            part = p[rows].T  # (K − 1, b)
            own = (part * (1 - part)).to(u)
            z = (part.to(u)[:, None, :] * u).flatten(0, 1)  # ((K − 1)(d + 1), b)
            for a in range(k):
                block = slice(a * d, (a + 1) * d)
                hessian[block, block] += inner_products(u * own[a], u)
                if a + 1 < k:
                    hessian[(a + 1) * d :, block] -= inner_products(z[(a + 1) * d :], z[block])
        ridge = self.ridge.repeat(k)
        for a in range(k):
            for b in range(a + 1):
                corner = hessian[a * d : (a + 1) * d, b * d : (b + 1) * d]
                corner.diagonal().add_(self.ridge * ((a == b) - 1 / (k + 1)))
        floor = torch.finfo(torch.float64).eps * len(ridge)  # a class without any probability has no curvature
        hessian.diagonal().add_(floor * hessian.diagonal().max() + torch.finfo(torch.float64).tiny)
        root = torch.linalg.cholesky(hessian).to(self.features)
        del hessian
        inverse: Tensor = torch.linalg.solve_triangular(root, torch.eye(len(root)).to(root), upper=False)
        return inverse


def exact_bytes(features: int, classes: int) -> int:
    """Give the bytes that `LastLayer.exact` plans for matrices of the size of the Hessian."""
    return 24 * ((classes - 1) * (features + 1)) ** 2
