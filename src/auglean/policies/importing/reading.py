"""What the importers share: which builder reads which class, and what becomes of a class that none reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from auglean.errors import InputError
from auglean.policies.adapting import as_policy
from auglean.policies.base import Identity, Policy
from auglean.policies.combining import Compose

#: A colour, grey where it is one number; `None` is no fill at all.
Fill = float | tuple[float, ...] | None
Builder = Callable[[Any, Any], Policy]  # of a transform and of the reader


class Library:
    """The classes of one library that can be read, each with its builder.

    A class is known by its name and by the module that it comes from, so that the library need not be imported. A
    subclass of a known class is another class: what it overrides cannot be seen from outside.

    Args:
        name: For messages.
        module: The package that the classes come from.

    >>> library = Library("made up", "torch.nn")
    >>> @library.reads("Identity")
    ... def _identity(transform, reader):
    ...     return Identity()
    >>> library.read(nn.Identity()), library.read(nn.Tanh()).note
    (Identity(), 'Tanh is not a transform of made up that can be read, so it is called image by image.')
    """

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module
        self._builders: dict[str, Builder] = {}

    def reads(self, *names: str) -> Callable[[Builder], Builder]:
        """Register a builder for classes of these names."""

        def register(builder: Builder) -> Builder:
            self._builders.update(dict.fromkeys(names, builder))
            return builder

        return register

    def owns(self, transform: object) -> bool:
        """Whether the class of an object comes from this library."""
        module = type(transform).__module__
        return module == self.module or module.startswith(self.module + ".")

    def builder(self, transform: object) -> Builder | None:
        """The builder of the very class of an object."""
        return self._builders.get(type(transform).__name__) if self.owns(transform) else None

    def read(self, transform: Any, levels: float = 1.0) -> Policy:
        """Read a transform, or take it as a callable and say why."""
        return Reader(self, levels).read(transform)


class Reader:
    """What a builder reads a transform with.

    Attributes:
        library: Whose transforms are read.
        levels: The value of white where the transform stands: 255 before whole levels are made fractions, else 1.
    """

    def __init__(self, library: Library, levels: float = 1.0) -> None:
        self.library, self.levels = library, levels

    def read(self, transform: Any) -> Policy:
        """Read a transform that stands in the same place."""
        if isinstance(transform, Policy):
            return transform
        builder = self.library.builder(transform)
        if builder is not None:
            return builder(transform, self)
        if type(transform) is nn.Sequential:
            return self.chain(list(transform))
        if not callable(transform):
            raise InputError(f"Expected a transform of {self.library.name} but found {type(transform).__name__}.")
        return self.called(transform, self._stranger(transform))

    def chain(self, transforms: Sequence[Any]) -> Policy:
        """Read transforms that follow each other in the same place."""
        return chained([self.read(transform) for transform in transforms])

    def called(self, transform: Callable[..., Any], reason: str) -> Policy:
        """Take a transform as a callable, for a reason: a sentence."""
        policy = as_policy(transform)
        policy.note = reason
        return policy

    def fill(self, fill: Any) -> Fill:
        """Bring a colour in the units of the place to [0, 1]."""
        if fill is None:
            return None
        colour = tuple(float(value) / self.levels for value in (fill if isinstance(fill, Sequence) else [fill]))
        return colour if len(set(colour)) > 1 else colour[0]

    def _stranger(self, transform: Any) -> str:
        name = getattr(transform, "__name__", None) or type(transform).__name__
        known = next((base for base in type(transform).__mro__[1:] if base.__name__ in self.library._builders), None)
        if known is not None and known.__module__.startswith(self.library.module):
            return f"{name} overrides {known.__name__} of {self.library.name}, so it is called image by image."
        return f"{name} is not a transform of {self.library.name} that can be read, so it is called image by image."


def chained(policies: Sequence[Policy]) -> Policy:
    """Compose policies, those that do nothing left out unless they have something to say.

    >>> from auglean.policies import Flip
    >>> chained([Identity(), Flip()])
    Flip(0.5)
    """
    parts = [policy for policy in policies if policy.note or not isinstance(policy, Identity)]
    if len(parts) == 1:
        return parts[0]
    return Compose(parts) if parts else Identity()
