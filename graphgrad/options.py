"""How a graph is compiled: what a user can choose, as one object.

`compile` makes it of its arguments and hands it on whole; each stage reads the fields that concern
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.passes import FUSING_PASSES, PASSES, SPECIALISED_PASSES, Pass
from graphgrad.text import suggestion

PROGRAMS = 128
"""How many programs, each for one set of sizes, a compiled graph keeps unless told otherwise; one
takes some two kilobytes a node."""

_PASSES = dict.fromkeys(each.__name__ for each in (*PASSES, *SPECIALISED_PASSES, *FUSING_PASSES))
CHOICES = (*_PASSES, "fuse", "rematerialise", "product_layouts", "eager_updates")
"""What `compile(…, without=…)` can leave out, to see what it is worth or which one is guilty."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The choices of one compilation."""

    fuse: bool = False
    """Compute regions of operations by kernels, instead of one operation after another."""
    rematerialise: bool = True
    """Make values that are larger than anything they are made of again where they are read."""
    product_layouts: bool = True
    """Write matrix products in the order of axes in which they are read."""
    eager_updates: bool = True
    """Let the update of a parameter follow its delta."""
    smallest_kernel: int | None = None
    """The number of elements from which a kernel is made; None leaves it to fusion."""
    programs: int = PROGRAMS
    """How many programs for different sizes are kept."""
    passes_left_out: frozenset[str] = frozenset()
    """The names of passes that do not run."""

    def __post_init__(self) -> None:
        if self.programs < 1:
            raise DeclarationError(
                f"programs is {self.programs}: nothing could run", fix="1 or more"
            )

    def without(self, names: Iterable[str]) -> Options:
        """These options without what is named, out of `CHOICES`; else UnknownNameError."""
        left_out = frozenset(names)
        for name in left_out.difference(CHOICES):
            raise UnknownNameError(
                f"there is no {name!r} to leave out",
                fix=suggestion(name, CHOICES, "what can be left out"),
            )
        return replace(
            self,
            fuse=self.fuse and "fuse" not in left_out,
            rematerialise=self.rematerialise and "rematerialise" not in left_out,
            product_layouts=self.product_layouts and "product_layouts" not in left_out,
            eager_updates=self.eager_updates and "eager_updates" not in left_out,
            passes_left_out=self.passes_left_out | (left_out & _PASSES.keys()),
        )

    def remaining(self, passes: Sequence[Pass]) -> tuple[Pass, ...]:
        """The passes but for those that are left out."""
        return tuple(each for each in passes if each.__name__ not in self.passes_left_out)


DEFAULTS = Options()
