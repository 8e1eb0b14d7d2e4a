"""The text that `help()` shows for an operation: formula, delta formula, shapes and an example.

It is made of what the operation's block says anyway. The example is real code: the suite runs it
for every operation, and the result that it prints was inferred by the operation's own shape rule.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from graphgrad.graph.block import Block
from graphgrad.graph.samples import Draw, Sample
from graphgrad.graph.types import BOOL, FLOAT32, INT32, TensorType

_KINDS = {"integer": INT32, "boolean": BOOL}


def describe(operation: Block, text: str, signature: inspect.Signature) -> None:
    """Gives the operation what `help()` and editors ask a function for."""
    object.__setattr__(operation, "__name__", operation.name)
    object.__setattr__(operation, "__doc__", text)
    object.__setattr__(operation, "__signature__", signature)


def operation_text(operation: Block) -> str:
    """What `help(gg.tanh)` shows below the name."""
    parts = [_called(operation), formulas(operation)]
    example = next((each for each in operation.samples if not each.attributes), None)
    if example is not None:
        parts.append(_example(operation, example))
    return "\n\n".join(filter(None, parts))


def typed_text(
    operation: Block, declare: Callable[..., object], example: tuple[str, str] | None
) -> str:
    """What `help(gg.softmax)` shows below the name: how it is called, what the function `declare`
    says of itself, then the block and an example."""
    call = operation.name + str(inspect.signature(declare)).replace("'", "")
    parts = [call, inspect.getdoc(declare) or ""]
    if operation.arity != 0:  # a leaf has no heads to send deltas to
        parts.append(formulas(operation))
    if example is not None:
        parts.append(example_text(*example))
    return "\n\n".join(filter(None, parts))


def formulas(operation: Block) -> str:
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


def signature_of(operation: Block) -> inspect.Signature:
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


def attribute_names(operation: Block) -> list[str]:
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


def example_text(call: str, result: str) -> str:
    """An example of a function of nodes, for its documentation."""
    return f'    >>> x = gg.input("x", (3, 4))\n    >>> print({call}.type)\n    {result}'


def _called(operation: Block) -> str:
    heads = head_names(operation.arity) if operation.arity is not None else ["x1", "x2", "…"]
    keywords = [f"{name}=…" for name in attribute_names(operation)]
    return f"{operation.name}({', '.join([*heads, *keywords, 'name=None'])})"


def _type(head: Draw) -> TensorType:
    return TensorType(head.shape, _KINDS.get(head.kind, FLOAT32))


def _types(operation: Block, each: Sample) -> str:
    heads = [_type(head) for head in each.heads]
    result = operation.infer(*heads, **each.attributes)
    return f"{', '.join(map(str, heads))} → {result}" if heads else str(result)


def _example(operation: Block, each: Sample) -> str:
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
