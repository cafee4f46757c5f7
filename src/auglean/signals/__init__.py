"""What a model says of each example: collected in a pass, or recorded from the steps of training; kept, saved."""

from auglean.signals.collecting import collect, measure
from auglean.signals.influence import Influence, group_influence, logistic_influence
from auglean.signals.logistic import LogisticHead, fit_logistic
from auglean.signals.record import Signals
from auglean.signals.recording import Recorder, Staleness
from auglean.signals.softmax_influence import softmax_influence

__all__ = [
    "Influence",
    "LogisticHead",
    "Recorder",
    "Signals",
    "Staleness",
    "collect",
    "fit_logistic",
    "group_influence",
    "logistic_influence",
    "measure",
    "softmax_influence",
]
