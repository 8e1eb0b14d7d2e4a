"""Compiles functions of the loop language that Python calls.

They are called through ctypes, which releases the interpreter's lock meanwhile. Arrays are passed
by address, so the caller checks their types and sizes in Python first.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from graphgrad.loops.expressions import definition_of, symbols_of
from graphgrad.loops.language import Function
from graphgrad.loops.machine_code import machine_code
from graphgrad.loops.translate import translate_function

_C_TYPES: Mapping[str, Any] = {
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
    "bool_": ctypes.c_bool,
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "uint32": ctypes.c_uint32,
    "uint64": ctypes.c_uint64,
}


def compile_function(function: Function, **types: str) -> Callable[..., Any]:
    """Compiles the function; the result takes numbers of the annotated types.

    `types` gives the type for each type variable of the function: real="float32". Raises
    `LoopError` if the function is not written in the language.
    """
    definition = definition_of(function)
    text = ast.unparse(definition)
    for other in [] if function.generated else symbols_of(function).values():
        if not isinstance(other, Function) or other is function or not other.separate:
            continue
        if f" {other.name}(" in text:
            compile_function(other)  # its callers are linked against it
    key = f"{function.python.__module__} {text} {sorted(types.items())}"
    name = machine_code().name_of(f"{translator_digest()} {key}")
    symbol = function.symbol if function.separate else name
    address = machine_code().address(
        name, lambda: translate_function(function, symbol, types), symbol
    )
    arguments = [_c_type(parameter.annotation, types) for parameter in definition.args.args]
    returned = _c_type(definition.returns, types) if definition.returns else None
    return ctypes.CFUNCTYPE(returned, *arguments)(address)


@cache
def separate_functions_of(function: Function) -> tuple[Function, ...]:
    """The separate functions that a function is compiled to call, itself included."""
    if function.separate:
        return (function,)
    called = {each.id for each in ast.walk(definition_of(function)) if isinstance(each, ast.Name)}
    others = [symbols_of(function).get(name) for name in sorted(called)]
    found = [
        each for its in others if isinstance(its, Function) for each in separate_functions_of(its)
    ]
    return tuple(dict.fromkeys(found))


@cache
def translator_digest() -> str:
    """A hash of the translator and its library: a change of either invalidates cached code."""
    folder = Path(__file__).parent
    names = ("translate", "expressions", "operations", "halves", "float_control", "llvm_text")
    files = [folder / f"{name}.py" for name in (*names, "machine_code", "tiles", "turned")]
    content = [path.read_bytes() for path in (*files, *sorted((folder / "library").glob("*.py")))]
    return hashlib.sha256(b"".join(content)).hexdigest()


def _c_type(annotation: ast.expr | None, types: Mapping[str, str]) -> Any:
    """The ctypes type of an annotation, which the translation has checked."""
    assert isinstance(annotation, ast.Name)
    return _C_TYPES[types.get(annotation.id, annotation.id)]
