"""The options of a compilation, as one object.

`compile` creates it from its arguments and passes it to the stages; each reads its own fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph.types import FLOAT32
from graphgrad.passes import (
    DEVICE_PASSES,
    FUSING_PASSES,
    PASSES,
    PRECISION_PASSES,
    SPECIALISED_PASSES,
    Pass,
    decompose,
    join_attention,
    join_attention_from,
)
from graphgrad.text import suggestion

PROGRAMS = 128
"""The default number of programs, each for one set of sizes, that a compiled graph keeps; a program
needs some two kilobytes per node."""

BACKENDS = ("numpy", "cupy")
"""What runs a program: the processor with NumPy, or a CUDA device with CuPy."""

SMALLEST_ATTENTION: Mapping[str, int] = {"numpy": 128, "cupy": 1}
"""The smallest number of scores of a head for attention as one operation. On a processor the kernel
takes 0.5 to 0.9 of the time of the plain operations from 12 queries and keys on (with their deltas,
one core of Zen 4), 0.95 with 8 of 16 features and 1.6 with 8 of 64."""
FEWEST_QUERIES: Mapping[str, int] = {"numpy": 8, "cupy": 1}
"""The fewest queries, likewise. A block has 16 or 32: a single query of 256 keys takes 2.8 times as
long as in plain operations, 4 queries 1.3 to 1.6 times, 8 queries 0.8 to 0.9."""

PRECISIONS = tuple(PRECISION_PASSES)
"""What matrix products read: float32, float32 with 11 binary digits, bfloat16 or float16."""

_PASSES = dict.fromkeys(each.__name__ for each in (*PASSES, *SPECIALISED_PASSES, *FUSING_PASSES))
CHOICES = (
    *_PASSES,
    "fuse",
    "rematerialise",
    "product_layouts",
    "eager_updates",
    "epilogues",
    "products",
    "overlap",
)
"""The names for `compile(…, without=…)`, to measure an optimisation or to find a faulty one."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one compilation."""

    fuse: bool = False
    """Compute regions of operations by kernels, instead of operation by operation."""
    rematerialise: bool = True
    """Recompute values that are larger than all their heads where they are read."""
    product_layouts: bool = True
    """Store matrix products in the order of axes in which they are read."""
    eager_updates: bool = True
    """Compute the update of a parameter directly after its delta."""
    epilogues: bool = True
    """Do what follows a product in its launch on a device, or in its kernel on the processor."""
    products: bool = True
    """On the processor, compute products by our own kernels where they are the faster ones."""
    overlap: bool = True
    """Let ranks compute while they exchange values."""
    smallest_kernel: int | None = None
    """The smallest number of elements of a kernel; None for the default of fusion."""
    smallest_attention: int | None = None
    """The smallest number of scores (queries · keys) of a head from which on attention is one
    operation, where nobody asks for its parts; None for that of the backend."""
    programs: int = PROGRAMS
    """The number of programs for different sizes that are kept."""
    passes_left_out: frozenset[str] = frozenset()
    """The names of passes that do not run."""
    backend: str = "numpy"
    """What runs the programs, out of `BACKENDS`."""
    precision: str = "fp32"
    """What matrix products read, out of `PRECISIONS`."""

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise UnknownNameError(
                f"there is no backend {self.backend!r}",
                fix=suggestion(self.backend, BACKENDS, "backends"),
            )
        if self.precision not in PRECISIONS:
            raise UnknownNameError(
                f"there is no precision {self.precision!r}",
                fix=suggestion(self.precision, PRECISIONS, "precisions"),
            )
        if self.programs < 1:
            raise DeclarationError(
                f"programs is {self.programs}, so no program could run", fix="1 or more"
            )

    def without(self, names: Iterable[str]) -> Options:
        """The options without the named passes and optimisations of `CHOICES`; raises
        UnknownNameError for any other name."""
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
            epilogues=self.epilogues and "epilogues" not in left_out,
            products=self.products and "products" not in left_out,
            overlap=self.overlap and "overlap" not in left_out,
            passes_left_out=self.passes_left_out | (left_out & _PASSES.keys()),
        )

    @property
    def fusing_passes(self) -> tuple[Pass, ...]:
        """The passes that run last if operations are fused."""
        on_processor = self.backend == "numpy"
        left = FUSING_PASSES if on_processor else DEVICE_PASSES
        if self.smallest_attention is not None:
            joined = join_attention_from(self.smallest_attention)
        elif on_processor and self.precision != "fp32":  # its kernels are those of float32
            return tuple(each for each in left if each is not join_attention)
        else:
            joined = join_attention_from(
                SMALLEST_ATTENTION[self.backend],
                FEWEST_QUERIES[self.backend],
                (FLOAT32,) if on_processor else None,
            )
        return tuple(joined if each is join_attention else each for each in left)

    def passes_of_a_program(
        self, specialised: Sequence[Pass]
    ) -> tuple[tuple[Pass, ...], tuple[Pass, ...]]:
        """The passes that run once the sizes are known: those that keep all values, and, in mixed
        precision, the one that rounds what products read and those after it."""
        fusing = self.fusing_passes if self.fuse else ()
        if self.precision == "fp32":
            return self.remaining((*specialised, *fusing)), ()
        # what is joined to one operation is found by its parts, before casts stand between them
        joining = fusing[: fusing.index(decompose)] if fusing else ()
        after = self.remaining(fusing[len(joining) :])
        return (
            self.remaining((*specialised, *joining)),
            (*PRECISION_PASSES[self.precision], *after),
        )

    def remaining(self, passes: Sequence[Pass]) -> tuple[Pass, ...]:
        """The passes without those that are left out."""
        return tuple(each for each in passes if each.__name__ not in self.passes_left_out)


DEFAULTS = Options()
