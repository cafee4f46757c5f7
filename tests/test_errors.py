"""The one error that a user can mend."""

import pytest

import auglean
from auglean.errors import InputError, unknown


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)
    assert auglean.InputError is InputError


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        ("corset", ["random", "coreset"], "Unknown x 'corset'; did you mean 'coreset'? Known: coreset, random."),
        ("zzzz", ["b", "a"], "Unknown x 'zzzz'. Known: a, b."),
        (
            "max-los",
            ["max-loss", "max-loss-top", "random"],
            "Unknown x 'max-los'; did you mean 'max-loss' or 'max-loss-top'? Known: max-loss, max-loss-top, random.",
        ),
        ("", ["a"], "Unknown x ''. Known: a."),
        (None, ["a"], "Unknown x None. Known: a."),
        (32, ["resnet20", "resnet32"], "Unknown x 32. Known: resnet20, resnet32."),
        ("it's", iter(["a"]), 'Unknown x "it\'s". Known: a.'),
    ],
)
def test_unknown_names(given, known, expected):
    error = unknown("x", given, known)
    assert type(error) is InputError
    assert str(error) == expected
