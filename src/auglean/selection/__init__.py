"""Which examples are worth augmenting: selections, selectors, budgets, weights and facility location."""

from auglean.selection.budgets import allocate, count
from auglean.selection.facility_location import facility_location
from auglean.selection.selection import Selection
from auglean.selection.selectors import SELECTORS, Coreset, MaxLoss, Random, Selector, parse, select
from auglean.selection.weights import WeightMode, effective_weights, gradient_error

__all__ = [
    "SELECTORS",
    "Coreset",
    "MaxLoss",
    "Random",
    "Selection",
    "Selector",
    "WeightMode",
    "allocate",
    "count",
    "effective_weights",
    "facility_location",
    "gradient_error",
    "parse",
    "select",
]
