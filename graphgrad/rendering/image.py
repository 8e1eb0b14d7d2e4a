"""Draws images with Graphviz, through its Python package, within a time limit.

The program (`dot` or `graphviz-pure`, see `performance.drawing_program`) reads the DOT text from
standard input and writes the image to standard output; apart from the format nothing else is passed
to it. The same text gives the same bytes: the only part that would change, the date in a PDF, is
replaced by a fixed one.
"""

from __future__ import annotations

import re
import subprocess

from graphviz import ExecutableNotFound
from graphviz.backend.execute import run_check

from graphgrad.errors import EnvironmentLimitError
from graphgrad.performance.drawing_program import (
    INSTALL_PORT,
    DrawingProgram,
    find_drawing_program,
)
from graphgrad.rendering.dot import FONT, STRAIGHT
from graphgrad.rendering.turned_labels import with_turned_labels
from graphgrad.text import printable

SECONDS = 60.0
_LARGEST = 256 * 2**20  # bytes of an image
_PORT_FONT = "Arial"  # the font whose character widths graphviz-pure knows
_DATE = re.compile(rb"(?<=Date \(D:)[0-9]{14}")
_INSTALL = (
    f"for svg and png: {INSTALL_PORT}; for pdf, too: install Graphviz (Debian, Ubuntu: "
    "apt install graphviz; macOS: brew install graphviz; conda: conda install graphviz); "
    "txt, dot, json, html and mermaid need nothing"
)


def draw_image(dot_text: str, form: str, seconds: float = SECONDS) -> bytes:
    """Draws a DOT text of `write_dot` as an image: svg, png or pdf.

    Raises EnvironmentLimitError if no program draws the format, if it fails, or if it takes longer
    than `seconds`.
    """
    program = find_drawing_program(form)
    if program is None:
        raise EnvironmentLimitError(
            f"{form} needs the program `dot` of Graphviz, which is not installed", fix=_INSTALL
        )
    font = FONT if program.name == "dot" else _PORT_FONT
    try:
        result = run_check(
            [program.path, "-Kdot", f"-T{form}"],
            input=_with_font(dot_text, FONT, font).encode(),
            capture_output=True,
            quiet=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentLimitError(
            f"Graphviz did not finish within {seconds:g} seconds",
            f"{dot_text.count(chr(10)):,} lines of DOT",
            "draw less: --depth 2 makes boxes of deeper scopes, --forward leaves the deltas out; "
            "or write the DOT text and lay it out on its own",
        ) from None
    except subprocess.CalledProcessError as problem:
        raise _failed(program, problem.returncode, problem.stderr) from None
    except (OSError, ExecutableNotFound) as problem:
        raise EnvironmentLimitError(
            f"Graphviz does not start: {problem}", program.path, _INSTALL
        ) from None
    image: bytes = result.stdout
    if not image:
        raise _failed(program, result.returncode, result.stderr)
    if len(image) > _LARGEST:
        raise EnvironmentLimitError(f"the image is {len(image):,} bytes large", fix="draw less")
    if form == "svg":
        text = _with_font(image.decode(), font, FONT)
        return (with_turned_labels(text) if STRAIGHT in dot_text else text).encode()
    return _DATE.sub(b"20000101000000", image) if form == "pdf" else image


def _with_font(text: str, old: str, new: str) -> str:
    """The text with another font. Quotes in names are escaped, so no name can match."""
    for attribute in ("fontname", "font-family"):
        text = text.replace(f'{attribute}="{old}"', f'{attribute}="{new}"')
    return text


def _failed(program: DrawingProgram, code: int, complaints: bytes) -> EnvironmentLimitError:
    reason = printable(complaints.decode(errors="replace").strip().split("\n")[0])
    return EnvironmentLimitError(
        f"Graphviz failed with exit code {code}: {reason or 'without a reason'}",
        program.path,
        "write the DOT text with the format dot, and run Graphviz on that file yourself",
    )
