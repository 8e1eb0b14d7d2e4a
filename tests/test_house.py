"""Files and functions stay short, and nothing sets the formatter or the linter aside."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    file
    for folder in ("graphgrad", "models", "tools", "tests")
    for file in (ROOT / folder).rglob("*.py")
)
LONGEST_FILE, LONGEST_FUNCTION = 400, 50
ASIDE = ("# fmt" + ":", "# no" + "qa", "TO" + "DO")
"""What sets the formatter, the linter or a reader aside; spelled so that this file has none."""


def lines_of(part: ast.FunctionDef | ast.AsyncFunctionDef | ast.Expr) -> int:
    """The lines of a function without its docstring, or of a docstring."""
    assert part.end_lineno is not None
    lines = part.end_lineno - part.lineno + 1
    if isinstance(part, ast.Expr) or ast.get_docstring(part) is None:
        return lines
    docstring = part.body[0]
    assert isinstance(docstring, ast.Expr)
    return lines - lines_of(docstring)


def test_every_file_fits_a_reader() -> None:
    wrong = []
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > LONGEST_FILE:
            wrong.append(f"{file} has {lines} lines")
        wrong += [f"{file} has {words!r}" for words in ASIDE if words in text]
        for function in ast.walk(ast.parse(text)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if (lines := lines_of(function)) > LONGEST_FUNCTION:
                wrong.append(f"{file}: {function.name} has {lines} lines")
    assert not wrong


def test_scripts_of_the_pages_fit_a_reader() -> None:
    scripts = [*(ROOT / "graphgrad").rglob("*.js")]
    assert len(scripts) > 30
    for file in scripts:
        assert file.read_text(encoding="utf-8").count("\n") <= LONGEST_FILE, file


def test_the_top_level_holds_what_it_should() -> None:
    """Git lists the four folders, the papers of a project and dotfiles, nothing else."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    names = {line.split("/")[0] for line in listed.stdout.splitlines()}
    allowed = {"pyproject.toml", "README.md", "graphgrad", "models", "tools", "tests"}
    papers = {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
    assert {name for name in names if not name.startswith(".")} <= allowed | papers
