"""The text that `help()` shows for an operation: formula, delta formula, shapes and an example.

It is made of what the operation's block says anyway. The example is real code: the suite runs it
for every operation, and the result that it prints was inferred by the operation's own shape rule.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from graphgrad.graph.samples import Draw, Sample
from graphgrad.graph.types import BOOL, FLOAT32, INT32, TensorType
from graphgrad.text import suggestion

_KINDS = {"integer": INT32, "boolean": BOOL}


class Described(Protocol):
    """What the text is made of: `Operation`, which shows it, stands above."""

    @property
    def name(self) -> str: ...

    @property
    def formula(self) -> str: ...

    @property
    def delta_formula(self) -> str: ...

    @property
    def arity(self) -> int | None: ...

    @property
    def samples(self) -> tuple[Sample, ...]: ...

    @property
    def infer(self) -> Callable[..., TensorType]: ...


def operation_text(operation: Described) -> str:
    """What `help(gg.tanh)` shows below the name."""
    parts = [_called(operation), formulas(operation)]
    example = next((each for each in operation.samples if not each.attributes), None)
    if example is not None:
        parts.append(_example(operation, example))
    return "\n\n".join(filter(None, parts))


def formulas(operation: Described) -> str:
    """The delta formula and the shapes of an operation, as an indented list."""
    lines = [f"    value:  y = {operation.formula}"]
    rule = operation.delta_formula or "none: nothing is sent back"
    lines.append(f"    delta:  {rule}  (δ = ∂L/∂y)")
    shapes = dict.fromkeys(_types(operation, each) for each in operation.samples)
    lines += [
        f"    {'shapes:' if number == 0 else '       '} {text}"
        for number, text in enumerate(list(shapes)[:3])
    ]
    return "\n".join(lines)


def signature_of(operation: Described) -> inspect.Signature:
    """How the operation is called: its heads, then `name` and the attributes by keyword."""
    kind = inspect.Parameter
    if operation.arity is None:
        heads = [kind("heads", kind.VAR_POSITIONAL)]
    else:
        heads = [kind(name, kind.POSITIONAL_ONLY) for name in head_names(operation.arity)]
    attributes = [kind(name, kind.KEYWORD_ONLY) for name in attribute_names(operation)]
    name = kind("name", kind.KEYWORD_ONLY, default=None, annotation="str | None")
    return inspect.Signature([*heads, *attributes, name], return_annotation="Node")


def head_names(count: int) -> list[str]:
    """`x` for one head, `x1`, `x2`, … for several, as the formulas call them."""
    return ["x"] if count == 1 else [f"x{number}" for number in range(1, count + 1)]


def attribute_names(operation: Described) -> list[str]:
    """The keywords that the operation's shape rule takes beside the types of the heads."""
    parameters = list(inspect.signature(operation.infer).parameters.values())
    named = [
        each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    by_keyword = [each.name for each in named if each.kind is each.KEYWORD_ONLY]
    by_place = [each.name for each in named if each.kind is not each.KEYWORD_ONLY]
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return by_keyword
    return by_place[operation.arity or 0 :] + by_keyword


def misuse(
    signature: inspect.Signature, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> ValueError | None:
    """What is wrong with a call, as a shape rule says it (with the fix behind "; fix: "); None
    where the call fits the signature."""
    parameters = signature.parameters
    known = [
        name
        for name, each in parameters.items()
        if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    unknown = [name for name in keywords if name not in known]
    if unknown and not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return ValueError(
            f"there is no argument {unknown[0]!r}; fix: "
            f"{suggestion(unknown[0], known, 'its arguments by name')}"
        )
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as problem:
        return ValueError(f"{problem}; fix: its arguments are {', '.join(parameters)}")
    return None


def example_text(call: str, result: str) -> str:
    """An example of a function of nodes, for its documentation."""
    return f'    >>> x = gg.input("x", (3, 4))\n    >>> print({call}.type)\n    {result}'


def _called(operation: Described) -> str:
    heads = head_names(operation.arity) if operation.arity is not None else ["x1", "x2", "…"]
    keywords = [f"{name}=…" for name in attribute_names(operation)]
    return f"{operation.name}({', '.join([*heads, *keywords, 'name=None'])})"


def _type(head: Draw) -> TensorType:
    return TensorType(head.shape, _KINDS.get(head.kind, FLOAT32))


def _types(operation: Described, each: Sample) -> str:
    heads = [_type(head) for head in each.heads]
    result = operation.infer(*heads, **each.attributes)
    return f"{', '.join(map(str, heads))} → {result}" if heads else str(result)


def _example(operation: Described, each: Sample) -> str:
    heads = [_type(head) for head in each.heads]
    names = head_names(len(heads))
    lines = [
        f'    >>> {name} = gg.input("{name}", {_sizes(head)}{_dtype(head)})'
        for name, head in zip(names, heads, strict=True)
    ]
    lines += [
        f"    >>> print(gg.{operation.name}({', '.join(names)}).type)",
        f"    {operation.infer(*heads)}",
    ]
    return "\n".join(lines)


def _sizes(head: TensorType) -> str:
    return f"({', '.join(map(str, head.shape))}{',' if len(head.shape) == 1 else ''})"


def _dtype(head: TensorType) -> str:
    return "" if head.dtype == FLOAT32 else f', "{head.dtype}"'
