"""Kernels that are no loop nests: written in CUDA C by hand (`kernels/*.cu`), printed for a dtype.

In a file, `$element` and `$index` stand for types of C. Copies are printed here, since the number
of axes is part of their text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template

import numpy as np

from graphgrad.backends.cupy.expressions import C_TYPES

PRELUDE = ("device.cuh", "attention.cuh", "tensor_cores.cuh", "attention_tensor.cuh")
"""The files of what every kernel may call, in the order in which they need each other."""

Strides = tuple[int, ...]


@cache
def device_functions() -> str:
    """What every kernel may call: the text that stands in front of the kernels of a module."""
    return "\n".join(map(resource, PRELUDE))


@cache
def resource(name: str) -> str:
    """The text of a file of this folder."""
    return files("graphgrad.backends.cupy").joinpath(name).read_text(encoding="utf-8")


def kernel_text(name: str, **types: np.dtype | str) -> str:
    """The kernel of the file of this name for these dtypes (or, of other words, their text)."""
    words = {what: C_TYPES.get(str(dtype), str(dtype)) for what, dtype in types.items()}
    return Template(resource(f"kernels/{name}.cu")).substitute(words)


def named(text: str) -> tuple[str, str]:
    """A kernel's text with a name of its own in place of `kernel`, made of the text: equal texts
    are one kernel in all programs."""
    name = f"kernel_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return name, text.replace(" kernel(", f" {name}(", 1)


def guarded(text: str) -> str:
    """The kernel that does nothing where a guard has said so: all its threads read one flag."""
    head, parameters = text.split(" kernel(\n", 1)
    parameters, body = parameters.split(")\n{\n", 1)
    return (
        f"{head} kernel(\n    const int* stopped,\n{parameters})\n{{\n"
        f"    if (*stopped) return;\n{body}"
    )


def copy_text(dtype: np.dtype | str, rank: int, adds: bool = False) -> str:
    """Elements from one set of strides to another, which may overlap with nothing; or added to what
    is there.

    Its words: how many elements, the sizes of all axes but the first, the strides in elements of
    what is read and of what is written, from where, to where.
    """
    kind, places = C_TYPES.get(str(dtype), str(dtype)), range(rank)
    parameters = [
        "const long long count",
        *(f"const long long size{axis}" for axis in places if axis),
        *(f"const long long from{axis}" for axis in places),
        *(f"const long long to{axis}" for axis in places),
        f"const {kind}* from",
        f"{kind}* to",
    ]
    lines = []
    for axis in reversed(places):
        place = f"rest % size{axis}" if axis else "rest"
        lines.append(f"const long long place{axis} = {place};")
        lines += [f"rest /= size{axis};"] if axis else []
    source, target = (
        " + ".join(f"place{axis} * {side}{axis}" for axis in places) or "0"
        for side in ("from", "to")
    )
    value = f"from[{source}]"
    lines.append(f"{kind}* its = to + ({target});")
    lines.append(f"*its = {f'added(*its, {value})' if adds else value};")
    return "\n".join(
        [
            'extern "C" __global__ void __launch_bounds__(256) kernel(',
            ",\n".join(f"    {parameter}" for parameter in parameters) + ")",
            "{",
            "    const long long element = blockIdx.x * 256LL + threadIdx.x;",
            "    if (element >= count) return;",
            "    long long rest = element;",
            *(f"    {line}" for line in lines),
            "}",
            "",
        ]
    )


def joined_axes(
    sizes: Sequence[int], source: Sequence[int], target: Sequence[int]
) -> tuple[Strides, Strides, Strides]:
    """Sizes and strides with as few axes as can be: those of size 1 left out, neighbours that are
    walked through like one joined. Never fewer than one axis."""
    found: list[tuple[int, int, int]] = []
    for size, its, goal in zip(sizes, source, target, strict=True):
        if size == 1:
            continue
        if found and (found[-1][1], found[-1][2]) == (its * size, goal * size):
            found[-1] = (found[-1][0] * size, its, goal)
        else:
            found.append((size, its, goal))
    one, two, three = zip(*(found or [(1, 1, 1)]), strict=True)
    return one, two, three
