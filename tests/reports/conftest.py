"""One tiny real run for all tests of reports."""

import pytest
from reports_runs import compared


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Digits, two budgets, two seeds, in a run folder."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    return compared("digits", out=folder, steps=20, seeds=2, budgets=[0.1, 0.3])
