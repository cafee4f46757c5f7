"""Condensation: a few synthetic images in place of a data set."""

from auglean.condensation.synthetic import SyntheticSet

__all__ = ["SyntheticSet"]
