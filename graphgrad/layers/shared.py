"""Lets a model apply one layer several times with the same weights.

    def model(left, right):
        tower = gg.layers.shared(lambda x: gg.layers.dense(x, 8, "tower"))
        return tower(left), tower(right)

A layer is a function that declares its parameters where it is called; called twice, it declares
two sets. `shared` gives such a function a single set. (Haiku and Flax have modules for this; a
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
    """Returns `layer` with one set of parameters and states, however often it is applied.

    They are named in the scope in which `shared` was called; the other nodes of the second use are
    in the scope `use_2` of it, and so on. Call `shared` inside the function that declares the
    model: a second model made by that function is then a graph with the same parameters. Raises
    DeclarationError for a parameter whose shape, dtype or initial value differs from that of the
    first use.

    >>> import graphgrad as gg
    >>> tower = gg.layers.shared(lambda x: gg.layers.dense(x, 8, "tower"))
    >>> left, right = tower(gg.input("left", (2, 3))), tower(gg.input("right", (2, 3)))
    >>> list(gg.Graph({"left": left, "right": right}).parameters)
    ['tower.w', 'tower.b']
    """
    site = current_site()
    leaves: dict[str, Node] = {}
    uses = itertools.count(1)

    @functools.wraps(layer)
    def apply(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        with sharing(site, leaves, next(uses)):
            return layer(*arguments, **keywords)

    return apply
