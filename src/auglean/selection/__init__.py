"""Which examples are worth augmenting: selections, selectors, budgets, weights and facility location."""

from auglean.selection.auditing import Audit, audit
from auglean.selection.budgets import allocate, count, neyman
from auglean.selection.clustered import Clustered
from auglean.selection.composition import InBlocks, PerClass, map_reduce
from auglean.selection.coreset import Coreset
from auglean.selection.determinantal import KDPP
from auglean.selection.dpp_greedy import greedy_log_determinant
from auglean.selection.dpp_sampling import sample_k_dpp
from auglean.selection.facility_location import facility_location
from auglean.selection.geometry import Herding, KCenter
from auglean.selection.matching import GradientMatching
from auglean.selection.reading import read_indices
from auglean.selection.reducible import ReducibleLoss
from auglean.selection.registry import SELECTORS, parse, select
from auglean.selection.sampling import CCS, InfoBatch
from auglean.selection.scores import EL2N, Forgetting, GraNd, Influence, Margin, MaxLoss, Random, TracIn, scores
from auglean.selection.selection import Selection
from auglean.selection.selectors import Selector
from auglean.selection.support import SupportVectors
from auglean.selection.variance import Variance
from auglean.selection.weights import WeightMode, effective_weights, gradient_error

__all__ = [
    "CCS",
    "EL2N",
    "KDPP",
    "SELECTORS",
    "Audit",
    "Clustered",
    "Coreset",
    "Forgetting",
    "GraNd",
    "GradientMatching",
    "Herding",
    "InBlocks",
    "Influence",
    "InfoBatch",
    "KCenter",
    "Margin",
    "MaxLoss",
    "PerClass",
    "Random",
    "ReducibleLoss",
    "Selection",
    "Selector",
    "SupportVectors",
    "TracIn",
    "Variance",
    "WeightMode",
    "allocate",
    "audit",
    "count",
    "effective_weights",
    "facility_location",
    "gradient_error",
    "greedy_log_determinant",
    "map_reduce",
    "neyman",
    "parse",
    "read_indices",
    "sample_k_dpp",
    "scores",
    "select",
]
