"""Recipes that answer a question."""

from auglean.studies.comparing import Comparison, compare, default_policies
from auglean.studies.narration import Narrator
from auglean.studies.single import fit_once

__all__ = ["Comparison", "Narrator", "compare", "default_policies", "fit_once"]
