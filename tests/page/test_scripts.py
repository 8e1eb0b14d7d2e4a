"""The modules of the page: every import and export is used, and a browser can load them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from page_driver import Open
from pygments.lexers.javascript import JavascriptLexer
from pygments.token import Comment, String

import graphgrad.page
from graphgrad.page.build import page_script
from graphgrad.page.modules import Module, load_modules

ASSETS = Path(graphgrad.page.__file__).parent / "assets"
ENTRIES = ("main.js", "watch/watch.js")
MODULES = {module.path: module for entry in ENTRIES for module in load_modules(ASSETS, entry)}
PATTERNS = (
    r"\b(?:const|let)\s+(\{[^}]*\}|\[[^;=]*\]|[\w$]+)",
    r"\bfunction\*?\s*([\w$]+)",
    r"\bfunction\*?\s*[\w$]*\(((?:[^()]|\([^()]*\))*)\)",
    r"\(((?:[^()]|\([^()]*\))*)\)\s*=>",
    r"^ +(?:async )?([\w$]+)\([^()]*\) \{",
    r"([\w$]+)\s*=>",
    r"\bcatch\s*\(([\w$]+)\)",
)
"""Where a script declares names of its own: variables, patterns and parameters."""


def code_of(module: Module) -> str:
    """The text without imports, comments and what is quoted; of a template what is put into it."""
    parts = []
    for kind, text in JavascriptLexer().get_tokens(module.body):
        if kind in String.Interpol:
            parts.append("(" if text == "${" else ")")
        elif kind in String:
            parts.append("''")
        elif kind not in Comment:
            parts.append(text)
    return "".join(parts)


CODE = {path: code_of(module) for path, module in MODULES.items()}


def uses(code: str) -> set[str]:
    """The names that stand there by themselves: not as properties, nor as keys of objects."""
    keys = {found.start(1) for found in re.finditer(r"[{,]\s*([\w$]+)\s*:", code)}
    names = re.finditer(r"(?:(?<![.\w$])|(?<=\.\.\.))([A-Za-z_$][\w$]*)", code)
    return {found[1] for found in names if found.start(1) not in keys}


def own_names(code: str) -> set[str]:
    """The names that are declared anywhere in the code."""
    found = (part for pattern in PATTERNS for part in re.findall(pattern, code, re.M))
    return {name for part in found for name in re.findall(r"[A-Za-z_$][\w$]*", part)}


def test_the_entries_reach_every_script() -> None:
    files = {file.relative_to(ASSETS).as_posix() for file in ASSETS.rglob("*.js")}
    assert set(MODULES) == files


@pytest.mark.parametrize("path", MODULES)
def test_every_import_is_used(path: str) -> None:
    names = [name for item in MODULES[path].imports for name in item.names]
    assert len(names) == len(set(names))
    assert set(names) - uses(CODE[path]) == set()
    sources = [item.path for item in MODULES[path].imports if item.names]
    assert len(sources) == len(set(sources)), "one import line for each module"


def test_every_export_is_imported_somewhere() -> None:
    taken = {
        (i.path, name) for module in MODULES.values() for i in module.imports for name in i.names
    }
    given = {(path, name) for path, module in MODULES.items() for name in module.exports}
    assert given - taken == set()


@pytest.mark.parametrize("path", MODULES)
def test_every_name_of_another_module_is_imported(path: str) -> None:
    """In the joined script a name would be there without its import."""
    module, code = MODULES[path], CODE[path]
    imported = {name for item in module.imports for name in item.names}
    others = {name for other in MODULES.values() for name in other.exports}
    missing = others - imported - set(module.declared) - own_names(code)
    assert missing & uses(code) == set()


def test_a_browser_takes_the_modules_as_they_are(
    browser: Any, open_page: Open, network: str
) -> None:
    """Served one by one they draw what the joined script draws: no import is missing or changed."""
    script = f"<script>{page_script()}</script>"
    assert script in network
    served = re.sub(r"<meta http-equiv[^>]*>", "", network)
    served = served.replace(script, '<script type="module" src="main.js"></script>')

    def serve(route: Any) -> None:
        path = route.request.url.removeprefix("http://page.test/")
        if path:
            route.fulfill(body=(ASSETS / path).read_text(), content_type="text/javascript")
        else:
            route.fulfill(body=served, content_type="text/html; charset=utf-8")

    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, reduced_motion="reduce", color_scheme="light"
    )
    try:
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.route("http://page.test/**", serve)
        page.goto("http://page.test/")
        page.wait_for_selector("html[data-ready]", timeout=8000)
        modules = page.evaluate("document.getElementById('main').outerHTML")
    finally:
        context.close()
    assert complaints == []
    joined = open_page(network).evaluate("document.getElementById('main').outerHTML")
    assert modules == joined
