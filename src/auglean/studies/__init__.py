"""Recipes that answer a question."""

from auglean.studies.comparing import Comparison, compare, default_policies
from auglean.studies.narration import Narrator

__all__ = ["Comparison", "Narrator", "compare", "default_policies"]
