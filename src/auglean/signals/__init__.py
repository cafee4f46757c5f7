"""What a model says of each example: collected in a pass, or recorded from the steps of training; kept, saved."""

from auglean.signals.collecting import collect, measure
from auglean.signals.record import Signals
from auglean.signals.recording import Recorder, Staleness

__all__ = ["Recorder", "Signals", "Staleness", "collect", "measure"]
