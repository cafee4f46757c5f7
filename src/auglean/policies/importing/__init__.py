"""Importers: policies read from the transforms of other libraries, with the laws of their own draws."""

from auglean.policies.importing import torchvision_colour as torchvision_colour  # imported for what they read
from auglean.policies.importing import torchvision_geometry as torchvision_geometry
from auglean.policies.importing.torchvision import from_torchvision

__all__ = ["from_torchvision"]
