"""The policies that importers need, through the shared case."""

import numpy as np
from policy_case import PolicyCase

from auglean.policies import Normalize


class TestNormalize(PolicyCase):
    deterministic = True
    MEAN, STD = (-0.1,), (1.2,)  # that stay in [0, 1], as the case asks

    def make(self):
        return Normalize(self.MEAN, self.STD)

    def reference(self, image, params):
        return (image - np.array(self.MEAN)[:, None, None]) / np.array(self.STD)[:, None, None]
