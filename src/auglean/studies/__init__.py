"""Recipes that answer a question."""

from auglean.studies.comparing import Comparison, compare, default_policies
from auglean.studies.label_noise import LabelNoise, label_noise, wrong_labels
from auglean.studies.narration import Narrator
from auglean.studies.single import fit_once

__all__ = [
    "Comparison",
    "LabelNoise",
    "Narrator",
    "compare",
    "default_policies",
    "fit_once",
    "label_noise",
    "wrong_labels",
]
