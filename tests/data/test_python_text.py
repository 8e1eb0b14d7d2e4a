"""What ships inside Python is enough to learn from."""

import ast
import inspect

from graphgrad.data.python_text import python_documentation_and_source, python_prose


def test_documentation_and_source_are_there_whole():
    documents = python_documentation_and_source()
    assert inspect.getsource(inspect) in documents
    assert any(text.startswith('The "assert" statement') for text in documents)
    assert sum(map(len, documents)) > 2_000_000
    assert documents == python_documentation_and_source()


def test_prose_has_most_docstrings():
    """Against Python's own parser, for one module."""
    tree = ast.parse(inspect.getsource(inspect))
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Module)
    found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
    wanted = [text for text in found if text]
    (module,) = [text for text in python_prose() if text.startswith(wanted[0])]
    assert len(wanted) > 50
    assert sum(text in module for text in wanted) > 0.8 * len(wanted)
    assert module.count("\n") < 1.2 * sum(text.count("\n") + 2 for text in wanted)
