"""Networks from images in [0, 1] to logits, by name, and what must hold of any other network."""

from auglean.networks.layers import Normalize
from auglean.networks.probing import check, last_linear
from auglean.networks.registry import create, names

__all__ = ["Normalize", "check", "create", "last_linear", "names"]
