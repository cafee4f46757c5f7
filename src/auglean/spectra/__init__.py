"""The Jacobian of a network under augmentation: singular values, subspaces, bounds, and the null of noise."""

from auglean.spectra.spectrum import Band, Contrast, Spectrum, Subspaces
from auglean.spectra.study import jacobian_spectrum

__all__ = ["Band", "Contrast", "Spectrum", "Subspaces", "jacobian_spectrum"]
