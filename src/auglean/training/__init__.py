"""Training with selective augmentation: what an epoch holds, the loop, checkpoints and evaluation."""

from auglean.training.augmenting import ROLES, AugmentSampler, Measured, Role
from auglean.training.building import load_network, new_network, save_network
from auglean.training.evaluating import correct, transformed
from auglean.training.fitting import Diverged, FitResult, Hooks, Interrupted, fit, weighted_loss
from auglean.training.plans import Item, Plan
from auglean.training.recipe import Recipe
from auglean.training.rendering import AugmentSubset

__all__ = [
    "ROLES",
    "AugmentSampler",
    "AugmentSubset",
    "Diverged",
    "FitResult",
    "Hooks",
    "Interrupted",
    "Item",
    "Measured",
    "Plan",
    "Recipe",
    "Role",
    "correct",
    "fit",
    "load_network",
    "new_network",
    "save_network",
    "transformed",
    "weighted_loss",
]
