"""What a model says of each example: collected in one forward pass, kept, saved."""

from auglean.signals.collecting import collect, measure
from auglean.signals.record import Signals

__all__ = ["Signals", "collect", "measure"]
