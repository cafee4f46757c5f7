"""What a model says of each example: collected in a pass, or recorded from the steps of training; kept, saved."""

from auglean.signals.collecting import collect, measure
from auglean.signals.logistic import LogisticHead, fit_logistic
from auglean.signals.record import Signals
from auglean.signals.recording import Recorder, Staleness

__all__ = ["LogisticHead", "Recorder", "Signals", "Staleness", "collect", "fit_logistic", "measure"]
