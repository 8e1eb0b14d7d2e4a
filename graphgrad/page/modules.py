"""Joins JavaScript modules into one classic script, which runs in a page opened from a file.

A browser loads modules only from a server, and the page may load nothing at all. So the modules are
put one after the other, each after those that it imports (the order in which a browser would run
them), without import lines, the word `export` and comments that begin in the first column. All
stand in one function: a name that one exports is then simply there for the others. A module that
exports nothing stands in a block of its own, so its names may be those of other modules.

That is true only of a part of the language, and the rest is refused with its file and line:

- imports are `import { a, b } from "./file.js";` or `import "./file.js";`, exports are
  `export const`, `let`, `function` or `class` before a declaration of one name;
- an imported name is exported by the module that it is imported from, under that name;
- no two modules that export anything declare the same name;
- no module imports itself, directly or through others.

What stands at the top of a module begins in the first column, and nothing else begins there with
one of these words.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from graphgrad.errors import GraphgradError

_COMMENT = re.compile(r"^/\*.*?\*/\n+", re.S | re.M)
_IMPORT = re.compile(r'import (?:\{([^{}]*)\} from )?"([^"\n]*)";\n\n?')
_EXPORT = re.compile(r"export (?=(?:async function|function\*?|const|let|class) [\w$]+)")
_DECLARATION = re.compile(
    r"^(?:export )?(?:async )?(?:function\*?|const|let|var|class) (?:([\w$]++)(?! *,)|.)", re.M
)
_IMPORT_OR_EXPORT = re.compile(r"^(?:import|export)\b", re.M)
_NAME = re.compile(r"[A-Za-z_$][\w$]*")
_FIXES = {
    "import": 'write import { name } from "./file.js"; or import "./file.js"; in the first column',
    "export": "write export before a const, let, function or class of one name",
}


class ModuleError(GraphgradError):
    """Modules of the page cannot be joined: the message names the file and the line."""


@dataclass(frozen=True)
class Import:
    """One import line: the file, by its path from the folder of all modules, and the names."""

    path: str
    names: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Module:
    """A file: what it imports, and the names that it declares and exports, each with its line."""

    path: str
    body: str
    """The text without imports, the word `export`, and comments that begin in the first column."""
    imports: tuple[Import, ...]
    exports: Mapping[str, int]
    declared: Mapping[str, int]
    """All names that are declared at the top, exported or not."""


def join_modules(folder: Traversable, entry: str) -> str:
    """The module `entry` of the folder and all that it imports, as one classic script.

    Raises ModuleError, with file and line, for what cannot be joined.
    """
    modules = load_modules(folder, entry)
    _check_imports(modules)
    _check_names(modules)
    parts = (
        module.body if module.exports else f"{{\n{module.body.rstrip()}\n}}\n" for module in modules
    )
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def load_modules(folder: Traversable, entry: str) -> list[Module]:
    """The module `entry` of the folder and all that it imports, each after those it imports."""
    found: dict[str, Module] = {}

    def load(path: str, importers: tuple[str, ...], where: str) -> None:
        if path in importers:
            circle = " imports ".join([*importers[importers.index(path) :], path])
            raise ModuleError(
                f"modules import each other in a circle: {circle}",
                where,
                "move what both need into a module of its own, or announce an event",
            )
        if path in found:
            return
        module = read_module(path, _text(folder, path, where))
        for item in module.imports:
            load(item.path, (*importers, path), f"{path}:{item.line}")
        found[path] = module

    load(entry, (), "")
    return list(found.values())


def read_module(path: str, text: str) -> Module:
    """What stands in a file. Raises ModuleError for an import or export that cannot be joined."""
    code = _COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), text)
    left_out = [comment.span() for comment in _COMMENT.finditer(text)]
    imports = []
    for word in _IMPORT_OR_EXPORT.finditer(code):
        line = _line(code, word.start())
        found = (_IMPORT if word[0] == "import" else _EXPORT).match(code, word.start())
        if found is None:
            raise ModuleError(f"this {word[0]} cannot be joined", f"{path}:{line}", _FIXES[word[0]])
        if word[0] == "import":
            imports.append(_import(path, line, found[1] or "", found[2]))
        left_out.append(found.span())
    declared = list(_declarations(path, code))
    return Module(
        path,
        _without(text, sorted(left_out)),
        tuple(imports),
        exports={name: line for name, line, exported in declared if exported},
        declared={name: line for name, line, _ in declared},
    )


def _import(path: str, line: int, listed: str, source: str) -> Import:
    """The names between the braces of an import, and the file by its path from the folder."""
    where = f"{path}:{line}"
    names = tuple(filter(None, map(str.strip, listed.split(","))))
    for name in names:
        if not _NAME.fullmatch(name):
            raise ModuleError(
                f"{name!r} cannot be imported", where, "import a name as it is exported"
            )
    if not source.startswith(("./", "../")) or not source.endswith(".js"):
        raise ModuleError(
            f"{source!r} is not a file of the page", where, "import ./file.js or ../folder/file.js"
        )
    return Import(posixpath.normpath(posixpath.join(posixpath.dirname(path), source)), names, line)


def _declarations(path: str, code: str) -> Iterator[tuple[str, int, bool]]:
    """The names that are declared at the top, each with its line and whether it is exported."""
    for found in _DECLARATION.finditer(code):
        line = _line(code, found.start())
        if found[1] is None:
            raise ModuleError(
                "this declaration at the top is not of one name",
                f"{path}:{line}",
                "declare each name in a statement of its own",
            )
        yield found[1], line, found[0].startswith("export")


def _text(folder: Traversable, path: str, where: str) -> str:
    file = folder.joinpath(*path.split("/"))
    if path.startswith("../") or not file.is_file():
        raise ModuleError(f"there is no module {path}", where, "import a file that is there")
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _without(text: str, cuts: Sequence[tuple[int, int]]) -> str:
    """The text without these pieces, which are in order."""
    starts = [0, *(end for _, end in cuts)]
    ends = [*(start for start, _ in cuts), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _check_imports(modules: Sequence[Module]) -> None:
    """Every imported name is exported by its module and declared nowhere beside its import."""
    exports = {module.path: module.exports for module in modules}
    for module in modules:
        taken = dict(module.declared)
        for item in module.imports:
            where = f"{module.path}:{item.line}"
            for name in item.names:
                if name not in exports[item.path]:
                    raise ModuleError(f"{item.path} does not export {name!r}", where)
                if name in taken:
                    raise ModuleError(
                        f"{name!r} is imported here and declared in line {taken[name]}", where
                    )
                taken[name] = item.line


def _check_names(modules: Sequence[Module]) -> None:
    """No name is declared by two modules that stand in the scope of all."""
    owners: dict[str, str] = {}
    for module in modules:
        for name, line in module.declared.items() if module.exports else ():
            if name in owners:
                raise ModuleError(
                    f"{name!r} is declared here and in {owners[name]}",
                    f"{module.path}:{line}",
                    "the modules are joined in one scope: give one of them another name",
                )
            owners[name] = f"{module.path}:{line}"
