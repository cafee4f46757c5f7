"""auglean: augment what matters.

Which images are worth augmenting, what that does to training, and whether it paid.
"""

from importlib.metadata import version as _version

from auglean import data, networks, policies, selection, signals, training
from auglean.data import ImageSet, load, splits
from auglean.errors import InputError
from auglean.policies import Policy, as_policy
from auglean.selection import Coreset, MaxLoss, Random, Selection, Selector, select
from auglean.signals import Signals, collect
from auglean.training import AugmentSampler, AugmentSubset, FitResult, Recipe, fit

__version__ = _version("auglean")

__all__ = [
    "AugmentSampler",
    "AugmentSubset",
    "Coreset",
    "FitResult",
    "ImageSet",
    "InputError",
    "MaxLoss",
    "Policy",
    "Random",
    "Recipe",
    "Selection",
    "Selector",
    "Signals",
    "as_policy",
    "collect",
    "data",
    "fit",
    "load",
    "networks",
    "policies",
    "select",
    "selection",
    "signals",
    "splits",
    "training",
]
