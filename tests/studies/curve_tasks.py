"""Small tasks for the tests of budget curves: features made up, so that no network is needed."""

import torch

import auglean as al
from auglean.policies.copies import Copies
from auglean.studies.curve_features import Features
from auglean.studies.curve_runs import Runs
from auglean.studies.curve_task import Task


def labelled(n, classes=2, seed=0):
    images = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return al.ImageSet(images, torch.arange(n) % classes)


def task(n=40, m=3, classes=2, validation=20, test=30, wrong=None):
    copies = Copies("rotate", tuple(float(5 * (j + 1)) for j in range(m)))
    wrong = torch.zeros(n, dtype=torch.bool) if wrong is None else wrong
    sets = (labelled(size, classes, seed) for seed, size in enumerate((n, validation, test)))
    return Task(*sets, rest=None, copies=copies, wrong=wrong)


def features(of, d=5, *, seed=0, identity=False, shift=1.5):
    """Draw features around a centre for each class; copies lie beside their source, moved in another direction."""
    g = torch.Generator().manual_seed(seed)
    classes = of.train.classes
    centre = torch.randn(classes, d, generator=g)
    away = torch.randn(of.copies.m, 1, d, generator=g)

    def part(data):
        x = centre[data.labels] + torch.randn(len(data), d, generator=g)
        moved = torch.zeros(of.copies.m, len(data), d)
        if not identity:
            moved = shift * away + 0.3 * torch.randn(of.copies.m, len(data), d, generator=g)
        return torch.cat([x[None], x + moved])

    return Features(part(of.train), part(of.validation), part(of.test))


def runs(of=None, made=None, *, C=1.0, seed=0):
    of = of or task()
    made = made or features(of)
    return Runs(of, lambda chosen, number: made, C=C, seed=seed)
