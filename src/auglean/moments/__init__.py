"""What a policy does to an image, exactly where that is possible: mean and covariance of augmented samples."""

from auglean.moments import colour_laws as colour_laws  # these are imported for what they make known
from auglean.moments import colour_rules as colour_rules
from auglean.moments import geometric_rules as geometric_rules
from auglean.moments.alignment import Alignment, alignment
from auglean.moments.comparing import PolicyComparison, compare_policies
from auglean.moments.computing import moments_of
from auglean.moments.describing import Description, describe
from auglean.moments.expected_loss import ExpectedLoss, expected_loss
from auglean.moments.first_order import first_order_signals
from auglean.moments.laws import Discrete, Law, Normal, Uniform, hats, rounded_uniform
from auglean.moments.linear import LinearFit, fit_linear
from auglean.moments.mixing import Partners, cutmix, mixup
from auglean.moments.moments import Moments
from auglean.moments.ranking import Ranking, rank_images
from auglean.moments.regularizer import Regularizer, regularizer
from auglean.moments.sample_sizes import SamplesNeeded, samples_needed
from auglean.moments.sweeps import LossCurve, loss_curves

__all__ = [
    "Alignment",
    "Description",
    "Discrete",
    "ExpectedLoss",
    "Law",
    "LinearFit",
    "LossCurve",
    "Moments",
    "Normal",
    "Partners",
    "PolicyComparison",
    "Ranking",
    "Regularizer",
    "SamplesNeeded",
    "Uniform",
    "alignment",
    "compare_policies",
    "cutmix",
    "describe",
    "expected_loss",
    "first_order_signals",
    "fit_linear",
    "hats",
    "loss_curves",
    "mixup",
    "moments_of",
    "rank_images",
    "regularizer",
    "rounded_uniform",
    "samples_needed",
]
