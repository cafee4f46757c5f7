"""The one error that a user can mend, and the sentence that says how."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used: one sentence with what was given, what was expected and what to do.

    The command line prints the sentence and exits with code 2.
    """


def unknown(kind: str, given: object, known: Iterable[str]) -> InputError:
    """Build the error for a name that is in no list, nearest names first.

    >>> str(unknown("selector", "corset", ["coreset", "random"]))
    "Unknown selector 'corset'; did you mean 'coreset'? Known: coreset, random."
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(given), names, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else "."
    return InputError(f"Unknown {kind} {given!r}{hint} Known: {', '.join(names)}.")
