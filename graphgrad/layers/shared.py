"""Layers that share their weights: declared once, applied as often as a model needs them.

    def model(left, right):
        tower = gg.layers.shared(lambda x: gg.layers.dense(x, 8, "tower"))
        return tower(left), tower(right)

A layer is a function that declares its parameters where it is called, and declared twice they are
two. `shared` gives such a function one set of them. (Haiku and Flax have modules for this; a
function needs none, as its parameters already have names.)
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from graphgrad.graph import Node
from graphgrad.graph.front import front
from graphgrad.graph.scope import current_site, sharing

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@front
def shared(layer: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """`layer` with one set of parameters and states, however often it is applied.

    They are named in the scope in which `shared` was called; the other nodes of the second use are
    in the scope `use_2` of it, and so on. It belongs inside the function that
    declares the model: two models that share a layer are one graph with the same parameters. A
    parameter that would have another shape, dtype or first value than the first time is a
    DeclarationError.
    """
    site = current_site()
    leaves: dict[str, Node] = {}
    uses = itertools.count(1)

    @functools.wraps(layer)
    def apply(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        with sharing(site, leaves, next(uses)):
            return layer(*arguments, **keywords)

    return apply
