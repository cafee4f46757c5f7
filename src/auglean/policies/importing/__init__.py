"""Importers: policies read from the transforms of other libraries, with the laws of their own draws."""

from auglean.policies.importing import kornia_colour as kornia_colour  # these are imported for what they read
from auglean.policies.importing import kornia_geometry as kornia_geometry
from auglean.policies.importing import torchvision_colour as torchvision_colour
from auglean.policies.importing import torchvision_geometry as torchvision_geometry
from auglean.policies.importing.kornia import from_kornia
from auglean.policies.importing.torchvision import from_torchvision

__all__ = ["from_kornia", "from_torchvision"]
