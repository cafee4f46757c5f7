"""What all tests share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Keep parallel test processes from fighting over the cores."""
    torch.set_num_threads(1)
