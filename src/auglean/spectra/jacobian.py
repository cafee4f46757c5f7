"""The Jacobian of a network's outputs with respect to its weights: its rows, and its products without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

from auglean.errors import InputError

Output = Literal["logits", "sum"]

#: Images that a product sends through the network at a time.
_BATCH = 256
#: Bytes of rows that are made at a time.
_ROWS = 1 << 26


class Operator(Protocol):
    """A matrix that is known by its products."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows n and columns m."""
        ...

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device of the products."""
        ...

    def times(self, v: Tensor) -> Tensor:
        """Multiply by `(m, b)` from the right. Shape `(n, b)`."""
        ...

    def transposed(self, u: Tensor) -> Tensor:
        """Multiply the transpose by `(n, b)`. Shape `(m, b)`."""
        ...


class Jacobian:
    """J = ∂f/∂W on fixed images at fixed weights: a row per output, image by image, a column per trainable weight.

    The network is called as it is; put it into eval mode first (`auglean.networks.probing.undisturbed`), since in
    train mode BatchNorm makes each row depend on the whole batch. Weights frozen by `requires_grad = False` are no
    columns. The network's own tensors are neither changed nor given gradients.

    Args:
        model: Any network of images `(B, C, H, W)` with one row of outputs for each.
        images: Float images. Shape `(N, C, H, W)`.
        output: `"logits"` for a row per image and logit, `"sum"` for one per image: that of the sum of its logits.
        dtype: In which everything is computed.

    Attributes:
        passes: Images sent through the network so far, once forward or once backward.

    >>> model = nn.Linear(3, 2, bias=False)
    >>> J = Jacobian(nn.Sequential(nn.Flatten(), model), torch.ones(4, 1, 1, 3))
    >>> J.shape, J.rows()[0]
    ((8, 6), tensor([1., 1., 1., 0., 0., 0.]))
    """

    def __init__(
        self, model: nn.Module, images: Tensor, *, output: Output = "logits", dtype: torch.dtype = torch.float32
    ) -> None:
        def cast_to(tensor: Tensor) -> Tensor:
            return tensor.detach().to(images.device, dtype if tensor.is_floating_point() else tensor.dtype)

        self.weights = {name: cast_to(value) for name, value in model.named_parameters() if value.requires_grad}
        if not self.weights:
            raise InputError("The network has no trainable weights, so it has no Jacobian; set requires_grad on some.")
        frozen = {name: value for name, value in model.named_parameters() if not value.requires_grad}
        self.fixed = {name: cast_to(value) for name, value in (*frozen.items(), *model.named_buffers())}
        self.model, self.images, self.output = model, images.to(dtype), output
        self.passes = 0
        first = self._call(self.weights, self.images[:1])
        if first.ndim != 2:
            raise InputError(
                f"The network gave an output of shape {tuple(first.shape)} for one image where (1, outputs) was "
                "expected; let it return one row of outputs for each image."
            )
        self.outputs = first.shape[1]
        self.columns = sum(value.numel() for value in self.weights.values())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows n = N · outputs and columns m, the number of trainable weights."""
        return len(self.images) * self.outputs, self.columns

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device of the products."""
        return self.images

    def _call(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Give the outputs `(B, outputs)` at some weights."""
        given: Tensor = functional_call(self.model, {**self.fixed, **weights}, (images,))
        return given if self.output == "logits" else given.sum(1, keepdim=True)

    def logits(self) -> Tensor:
        """Give the outputs on all images. Shape `(N, outputs)`."""
        self.passes += len(self.images)
        return torch.cat([self._call(self.weights, batch) for batch in self.images.split(_BATCH)])

    def rows(self, images: slice = slice(None), weights: Sequence[str] | None = None) -> Tensor:
        """Give the rows of some images, for the columns of some weights: by default the whole matrix.

        Returns:
            Shape `(images · outputs, columns)`.
        """
        chosen = {name: self.weights[name] for name in weights or self.weights}
        rest = {name: value for name, value in self.weights.items() if name not in chosen}
        given = self.images[images]
        width = sum(value.numel() for value in chosen.values())
        rows = given.new_empty(len(given) * self.outputs, width)

        def one(image: Tensor) -> Tensor:
            parts = jacrev(lambda values: self._call({**rest, **values}, image[None])[0])(chosen)
            return torch.cat([part.flatten(1) for part in parts.values()], 1)  # (outputs, width)

        step = max(1, _ROWS // (self.outputs * width * rows.element_size()))
        for start in range(0, len(given), step):
            part = vmap(one)(given[start : start + step]).flatten(0, 1)
            rows[start * self.outputs : start * self.outputs + len(part)] = part
        self.passes += len(given) * (1 + self.outputs)
        return rows

    def blocks(self, size: int) -> Iterator[Tensor]:
        """Give the rows in blocks of whole images, of at most `size` bytes where one image has no more."""
        step = max(1, size // (self.outputs * self.columns * self.images.element_size()))
        for start in range(0, len(self.images), step):
            yield self.rows(slice(start, start + step))

    def times(self, v: Tensor) -> Tensor:
        """Multiply by `(m, b)` from the right, a forward-mode product for each column. Shape `(n, b)`."""
        tangents = [self._unflatten(column) for column in v.T]
        parts = []
        for images in self.images.split(_BATCH):
            call = self._at(images)
            columns = [cast(Tensor, jvp(call, (self.weights,), (tangent,))[1]).flatten() for tangent in tangents]
            parts.append(torch.stack(columns, 1))
        self.passes += 2 * len(self.images) * v.shape[1]
        return torch.cat(parts)

    def transposed(self, u: Tensor) -> Tensor:
        """Multiply the transpose by `(n, b)`, a backward pass for each column. Shape `(m, b)`."""
        total = u.new_zeros(u.shape[1], self.columns)
        images = self.images.split(_BATCH)
        for batch, cotangents in zip(images, u.split(_BATCH * self.outputs), strict=True):
            pull = vjp(self._at(batch), self.weights)[1]
            for row, cotangent in zip(total, cotangents.T, strict=True):
                (gradient,) = pull(cotangent.reshape(len(batch), self.outputs))
                row += torch.cat([part.flatten() for part in gradient.values()])
        self.passes += len(self.images) * (1 + u.shape[1])
        return total.T

    def _at(self, images: Tensor) -> Callable[[Mapping[str, Tensor]], Tensor]:
        return lambda weights: self._call(weights, images)

    def _unflatten(self, column: Tensor) -> dict[str, Tensor]:
        parts = column.split([value.numel() for value in self.weights.values()])
        return {name: part.view_as(value) for part, (name, value) in zip(parts, self.weights.items(), strict=True)}


class Difference:
    """E = J̃ − J by its products."""

    def __init__(self, after: Operator, before: Operator) -> None:
        self.after, self.before, self.shape, self.like = after, before, before.shape, before.like

    def times(self, v: Tensor) -> Tensor:
        """Multiply by `(m, b)` from the right."""
        return self.after.times(v) - self.before.times(v)

    def transposed(self, u: Tensor) -> Tensor:
        """Multiply the transpose by `(n, b)`."""
        return self.after.transposed(u) - self.before.transposed(u)
