"""Which examples are worth augmenting: selections, selectors, budgets, weights and facility location."""

from auglean.selection.auditing import Audit, audit
from auglean.selection.budgets import allocate, count
from auglean.selection.composition import InBlocks, PerClass, map_reduce
from auglean.selection.coreset import Coreset
from auglean.selection.facility_location import facility_location
from auglean.selection.geometry import Herding, KCenter
from auglean.selection.matching import GradientMatching
from auglean.selection.reading import read_indices
from auglean.selection.reducible import ReducibleLoss
from auglean.selection.registry import SELECTORS, parse, select
from auglean.selection.sampling import CCS, InfoBatch
from auglean.selection.scores import EL2N, GraNd, MaxLoss, Random
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector
from auglean.selection.weights import WeightMode, effective_weights, gradient_error

__all__ = [
    "CCS",
    "EL2N",
    "SELECTORS",
    "Audit",
    "Coreset",
    "GraNd",
    "GradientMatching",
    "Herding",
    "InBlocks",
    "InfoBatch",
    "KCenter",
    "MaxLoss",
    "PerClass",
    "Random",
    "ReducibleLoss",
    "Selection",
    "Selector",
    "WeightMode",
    "allocate",
    "audit",
    "count",
    "effective_weights",
    "facility_location",
    "gradient_error",
    "map_reduce",
    "parse",
    "read_indices",
    "select",
]
