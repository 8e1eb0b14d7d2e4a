"""Imports point down only, and stand at the top of their file.

errors < text < strict_json < files, garbage, memory, display, philox, user_folder < kept_code <
loops < graph < ops < backprop < passes < options < schedule < fusion < plan < ranks < backends <
compile < performance < layers < data < decoding < figures < checks < explain < interpret <
training < reports < rendering < page < formats < models < lecture < guide < tools
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = (
    "errors",
    "text",
    "strict_json",
    "files",
    "garbage",
    "memory",
    "display",
    "philox",
    "user_folder",
    "kept_code",
    "loops",
    "graph",
    "ops",
    "backprop",
    "passes",
    "options",
    "schedule",
    "fusion",
    "plan",
    "ranks",
    "backends",
    "compile",
    "performance",
    "layers",
    "data",
    "decoding",
    "figures",
    "checks",
    "explain",
    "interpret",
    "training",
    "reports",
    "rendering",
    "page",
    "formats",
    "models",
    "lecture",
    "guide",
    "tools",
)
CORE = {*LAYERS[: LAYERS.index("backends")]} - {"loops"}
"""What all backends share; the compiler of loops belongs to the NumPy backend."""
FOLDERS = {"graphgrad": ROOT / "graphgrad", "models": ROOT / "models", "tools": ROOT / "tools"}
FILES = sorted(file for folder in FOLDERS.values() for file in folder.rglob("*.py"))
OPTIONAL = {
    "llvmlite",
    "cupy",
    "cupyx",
    "torch",
    "jax",
    "mpi4py",
    "nvmath",
    "cudnn",
    "psutil",
    "resource",
    "matplotlib",
}
"""What need not be installed: imported inside a function or guarded, never taken for granted."""


def layer_of_file(file: Path) -> str:
    """The layer that a file belongs to; "" for the package's own front page."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] != "graphgrad" else parts[1].replace("__init__", "")


def layer_of_module(module: str) -> str:
    """The layer of `graphgrad.plan.arena`; "" for `graphgrad` itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported, with its line; relative imports are refused."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import on line {node.lineno}"
            assert node.module is not None
            if node.module == "graphgrad":
                for alias in node.names:
                    yield f"graphgrad.{alias.name}", node.lineno
            else:
                yield node.module, node.lineno


def ours(tree: ast.AST) -> list[tuple[str, int]]:
    """Imports of the package, by module and line."""
    return [(m, line) for m, line in imported(tree) if m.split(".")[0] == "graphgrad"]


@cache
def imports_of(file: Path) -> list[tuple[str, int, bool]]:
    """Every module that a file imports, with its line, and whether that is inside a function."""
    tree = ast.parse(file.read_text())
    inside = {
        part
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for part in ast.walk(function)
        if isinstance(part, ast.Import | ast.ImportFrom)
    }
    return [
        (module, line, node in inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module, line in imported(node)
    ]


def test_imports_point_down():
    wrong = []
    for file in FILES:
        layer = layer_of_file(file)
        if not layer:
            continue  # the front page gathers what stands up to training and is imported by nothing
        assert layer in LAYERS, f"{file} belongs to no layer: say where it stands"
        for module, line, _ in imports_of(file):
            if module.split(".")[0] != "graphgrad":
                continue
            below = layer_of_module(module)
            highest = LAYERS.index(below) if below in LAYERS else LAYERS.index("training") + 1
            if highest > LAYERS.index(layer):  # the front page stands above training
                wrong.append(f"{file}:{line} imports {module}")
    assert not wrong


def test_no_import_inside_a_function_but_of_an_optional_third_party():
    assert not [
        f"{file}:{line} imports {module}"
        for file in FILES
        for module, line, inside in imports_of(file)
        if inside and module.split(".")[0] == "graphgrad"
    ]


def test_the_front_page_imports_nothing_above_training():
    for module, line in ours(ast.parse((ROOT / "graphgrad" / "__init__.py").read_text())):
        layer = layer_of_module(module)
        assert LAYERS.index(layer) <= LAYERS.index("training"), f"line {line}: {module}"


def test_the_core_needs_nothing_that_is_optional():
    """Outside of functions: an optional library must not be needed to declare and derive."""
    core = [file for file in FILES if layer_of_file(file) in CORE]
    assert len(core) > 50
    assert not [
        f"{file}:{line} imports {module}"
        for file in core
        for module, line, inside in imports_of(file)
        if not inside and module.split(".")[0] in OPTIONAL
    ]


def modules_imported(file: Path, known: set[str]) -> set[str]:
    """The modules among those known that a file imports, also where only a type checker does."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names.values()}
    return found & known


def circle(imports: Mapping[str, Collection[str]]) -> list[str]:
    """Modules each of which imports the next, and the last the first; none where there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a", "c"}}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in (["b", "c", "b"], ["c", "b", "c"])


def test_no_module_imports_itself_by_way_of_others():
    """Not even for annotations alone: two files that know each other are one."""
    files = {}
    for file in FILES:
        parts = file.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts if parts[0] == "graphgrad" else ("graphgrad", *parts))
        files[name.removesuffix(".__init__")] = file
    known = set(files)
    imports = {name: modules_imported(file, known) - {name} for name, file in files.items()}
    assert any(imports.values()) and circle(imports) == []


def test_nothing_unsafe_is_called():
    """No pickle, no eval of text, no shell; exec only of the program that the package prints."""
    printed = {"program.py": 1}
    for file in FILES:
        tree = ast.parse(file.read_text())
        modules = {module.split(".")[0] for module, *_ in imports_of(file)}
        assert modules.isdisjoint({"pickle", "marshal", "shelve", "dill"}), file
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        named = [c.func.id for c in calls if isinstance(c.func, ast.Name)]
        assert "eval" not in named and named.count("exec") <= printed.get(file.name, 0), file
        for call in calls:
            for keyword in call.keywords:
                unsafe = keyword.arg in ("shell", "allow_pickle")
                value = getattr(keyword.value, "value", True)
                assert not (unsafe and value), f"{file}:{call.lineno} {keyword.arg}"


def test_every_package_is_installed():
    """A folder that is missing from pyproject.toml would be missing from the wheel."""
    text = (ROOT / "pyproject.toml").read_text()
    for folder in {file.parent for file in FILES if file.name == "__init__.py"}:
        parts = folder.relative_to(ROOT).parts
        name = ".".join(parts if parts[0] == "graphgrad" else ("graphgrad", *parts))
        assert f'"{name}"' in text, name


def test_the_package_says_that_it_is_typed_and_its_source_can_be_tested():
    """setuptools takes no other files of its own accord: not the marker, not tests' helpers."""
    text = (ROOT / "pyproject.toml").read_text()
    assert '"graphgrad" = ["py.typed"]' in text and (ROOT / "graphgrad" / "py.typed").is_file()
    assert any("setuptools-scm" in need for need in tomllib.loads(text)["build-system"]["requires"])
