"""auglean: augment what matters.

Which images are worth augmenting, what that does to training, and whether it paid.
"""

from importlib.metadata import version as _version

from auglean import data, networks, policies, reports, selection, signals, studies, training
from auglean.data import ImageSet, load, splits
from auglean.errors import InputError
from auglean.policies import Policy, as_policy
from auglean.selection import Coreset, MaxLoss, Random, Selection, Selector, select
from auglean.signals import Signals, collect
from auglean.studies import Comparison, compare
from auglean.training import AugmentSampler, AugmentSubset, FitResult, Recipe, fit

__version__ = _version("auglean")

__all__ = [
    "AugmentSampler",
    "AugmentSubset",
    "Comparison",
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
    "compare",
    "data",
    "fit",
    "load",
    "networks",
    "policies",
    "reports",
    "select",
    "selection",
    "signals",
    "splits",
    "studies",
    "training",
]
