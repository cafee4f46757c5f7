"""Images with labels: one noun, one way to read them, one way to split them."""

from auglean.data.images import ImageSet
from auglean.data.loading import load
from auglean.data.splitting import Splits, split, splits

__all__ = ["ImageSet", "Splits", "load", "split", "splits"]
