"""Condensation: a few synthetic images in place of a data set."""

from auglean.condensation.condensing import Hooks, Stopped, condense
from auglean.condensation.distances import gradient_distance
from auglean.condensation.methods import DC, DM, DSA, METHODS, Method, as_method
from auglean.condensation.planning import Plan
from auglean.condensation.starting import starting_images
from auglean.condensation.synthetic import SyntheticSet

__all__ = [
    "DC",
    "DM",
    "DSA",
    "METHODS",
    "Hooks",
    "Method",
    "Plan",
    "Stopped",
    "SyntheticSet",
    "as_method",
    "condense",
    "gradient_distance",
    "starting_images",
]
