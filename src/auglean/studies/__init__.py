"""Recipes that answer a question."""

from auglean.studies.budget_curve import BudgetCurve, budget_curve
from auglean.studies.comparing import Comparison, compare, default_policies
from auglean.studies.curve_policies import GroupInfluence
from auglean.studies.label_noise import LabelNoise, label_noise, wrong_labels
from auglean.studies.narration import Narrator
from auglean.studies.policy_study import Quantified, quantify
from auglean.studies.quantifying import quantify_spectrum
from auglean.studies.single import fit_once

__all__ = [
    "BudgetCurve",
    "Comparison",
    "GroupInfluence",
    "LabelNoise",
    "Narrator",
    "Quantified",
    "budget_curve",
    "compare",
    "default_policies",
    "fit_once",
    "label_noise",
    "quantify",
    "quantify_spectrum",
    "wrong_labels",
]
