"""Networks that fit a data set, and the file that keeps a trained one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from auglean import networks
from auglean.data import ImageSet
from auglean.errors import InputError
from auglean.files import read_tensors, write_tensors


def new_network(name: str, data: ImageSet, seed: int) -> nn.Module:
    """Make a network that fits a data set, with its mean and standard deviation."""
    mean, std = data.mean_std()
    return networks.create(
        name, channels=data.channels, classes=data.classes, size=data.size, mean=mean, std=std, seed=seed
    )


def save_network(path: Path, model: nn.Module, about: Mapping[str, Any]) -> None:
    """Write the weights of a network and what is needed to make it again."""
    write_tensors(path, model.state_dict(), about)


def load_network(path: str | Path) -> nn.Module:
    """Make the network that `save_network` wrote.

    Raises:
        InputError: If the file is not one of those.
    """
    try:
        tensors, about = read_tensors(path)
        name, size = about.pop("network"), tuple(about.pop("size"))
        model = networks.create(name, size=size, **about)
        model.load_state_dict(tensors)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} holds no network; give the model.safetensors of an `auglean fit` run.") from error
    return model.eval()
