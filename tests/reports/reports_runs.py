"""Makes tiny real runs for the tests of reports."""

import torch

import auglean as al
from auglean.studies import Narrator


def compared(data, **options):
    return al.compare(data, **{"network": "mlp", "narrator": Narrator(), **options})


def nasty_set():
    """Names that break pages and plots which do not escape."""
    g = torch.Generator().manual_seed(0)
    names = ("<script>alert(1)</script>", "a & b", "$\\frac{1$ %", "猫 \"'>", "x" * 80)
    labels = torch.arange(60) % len(names)
    return al.ImageSet(
        torch.randint(0, 256, (60, 3, 9, 11), dtype=torch.uint8, generator=g), labels, names, name="<b>&set$_{"
    )
