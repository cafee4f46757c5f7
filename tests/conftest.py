"""What all tests share."""

import importlib.util
import sys

import pytest
import torch

SCHEMAS = []  # a library of operators lives as long as its object


@pytest.fixture(scope="session")
def v2():
    """`torchvision.transforms.v2`, of whatever build.

    The ordinary wheel is a CUDA build: beside a CPU build of torch its import fails for want of two operators that no
    transform uses. They are declared in that case alone.
    """
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    _declare_missing_operators()
    from torchvision.transforms import v2

    return v2


def _declare_missing_operators():
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        SCHEMAS.append(library)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Keep parallel test processes from fighting over the cores."""
    torch.set_num_threads(1)
