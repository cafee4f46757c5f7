"""A selector of one's own, held against random by `compare`: the images nearest to the decision border."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import auglean as al


@dataclass(frozen=True)
class Border(al.Selector):
    """The images whose two likeliest classes are nearest to each other."""

    name: ClassVar[str] = "border"

    def choose(self, signals: al.Signals | None, labels: Tensor, k: int, g: torch.Generator) -> al.Selection:
        """Choose the k images of smallest margin; each stands for n/k."""
        assert signals is not None
        nearest = torch.argsort(signals.margin, stable=True)[:k]
        weights = torch.full((k,), len(labels) / k, dtype=torch.float64)
        return al.Selection(nearest, weights, -signals.margin[nearest].double(), total=len(labels))


def main() -> al.Comparison:
    table = al.compare("digits", selectors=[Border()], steps=60, seeds=2, network="mlp")
    print(table)
    return table


if __name__ == "__main__":
    main()
