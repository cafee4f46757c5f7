"""Condensation: a few synthetic images in place of a data set."""

from auglean.condensation.architectures import Ranking, rank_architectures, search_space
from auglean.condensation.baselines import BASELINES, baseline
from auglean.condensation.condensing import Hooks, Stopped, condense
from auglean.condensation.distances import gradient_distance
from auglean.condensation.evaluating import ARCHITECTURES, evaluate
from auglean.condensation.incremental import Continual, continual
from auglean.condensation.learning import learn
from auglean.condensation.methods import DC, DM, DSA, METHODS, Method, as_method
from auglean.condensation.planning import Plan
from auglean.condensation.protocol import Evaluation, Protocol
from auglean.condensation.scoring import Scores, fair_scores
from auglean.condensation.starting import starting_images
from auglean.condensation.synthetic import SyntheticSet

__all__ = [
    "ARCHITECTURES",
    "BASELINES",
    "DC",
    "DM",
    "DSA",
    "METHODS",
    "Continual",
    "Evaluation",
    "Hooks",
    "Method",
    "Plan",
    "Protocol",
    "Ranking",
    "Scores",
    "Stopped",
    "SyntheticSet",
    "as_method",
    "baseline",
    "condense",
    "continual",
    "evaluate",
    "fair_scores",
    "gradient_distance",
    "learn",
    "rank_architectures",
    "search_space",
    "starting_images",
]
