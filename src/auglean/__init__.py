"""auglean: augment what matters.

Which images are worth augmenting, what that does to training, and whether it paid.
"""

from importlib.metadata import version as _version

from auglean import (
    condensation,
    data,
    moments,
    networks,
    policies,
    reports,
    selection,
    signals,
    spectra,
    studies,
    training,
)
from auglean.condensation import DC, DM, DSA, Evaluation, SyntheticSet, condense, evaluate
from auglean.data import ImageSet, load, splits
from auglean.errors import InputError
from auglean.moments import ExpectedLoss, Moments, SamplesNeeded, expected_loss, samples_needed
from auglean.policies import Policy, as_policy, from_torchvision
from auglean.selection import (
    CCS,
    EL2N,
    KDPP,
    Clustered,
    Coreset,
    Forgetting,
    GradientMatching,
    GraNd,
    Herding,
    InBlocks,
    Influence,
    InfoBatch,
    KCenter,
    Margin,
    MaxLoss,
    PerClass,
    Random,
    ReducibleLoss,
    Selection,
    Selector,
    SupportVectors,
    TracIn,
    Variance,
    select,
)
from auglean.signals import Signals, collect
from auglean.spectra import Spectrum, jacobian_spectrum
from auglean.studies import BudgetCurve, Comparison, budget_curve, compare
from auglean.training import AugmentSampler, AugmentSubset, FitResult, Recipe, fit

__version__ = _version("auglean")

__all__ = [
    "CCS",
    "DC",
    "DM",
    "DSA",
    "EL2N",
    "KDPP",
    "AugmentSampler",
    "AugmentSubset",
    "BudgetCurve",
    "Clustered",
    "Comparison",
    "Coreset",
    "Evaluation",
    "ExpectedLoss",
    "FitResult",
    "Forgetting",
    "GraNd",
    "GradientMatching",
    "Herding",
    "ImageSet",
    "InBlocks",
    "Influence",
    "InfoBatch",
    "InputError",
    "KCenter",
    "Margin",
    "MaxLoss",
    "Moments",
    "PerClass",
    "Policy",
    "Random",
    "Recipe",
    "ReducibleLoss",
    "SamplesNeeded",
    "Selection",
    "Selector",
    "Signals",
    "Spectrum",
    "SupportVectors",
    "SyntheticSet",
    "TracIn",
    "Variance",
    "as_policy",
    "budget_curve",
    "collect",
    "compare",
    "condensation",
    "condense",
    "data",
    "evaluate",
    "expected_loss",
    "fit",
    "from_torchvision",
    "jacobian_spectrum",
    "load",
    "moments",
    "networks",
    "policies",
    "reports",
    "samples_needed",
    "select",
    "selection",
    "signals",
    "spectra",
    "splits",
    "studies",
    "training",
]
