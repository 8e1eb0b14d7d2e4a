"""Images by Graphviz, through its Python package, within a limit of time.

Two programs can draw: the `dot` of a Graphviz that the system has, and `graphviz-pure`, a port that
pip installs (`graphgrad[pictures]`) and that draws SVG and PNG. The first one found is used. The
text goes in through standard input and the image comes out through standard output; nothing else
is passed but the format. Images are the same bytes every time: the one part that changes, the date
in a PDF, is held fixed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass

from graphviz import ExecutableNotFound
from graphviz.backend.execute import run_check

from graphgrad.errors import EnvironmentLimitError
from graphgrad.rendering.dot import FONT
from graphgrad.text import printable

IMAGES = ("svg", "png", "pdf")
SECONDS = 60.0
_LARGEST = 256 * 2**20  # bytes of an image
_DATE = re.compile(rb"(?<=Date \(D:)[0-9]{14}")
_INSTALL = (
    "for svg and png: pip install 'graphgrad[pictures]'; for pdf, too: install Graphviz (Debian, "
    "Ubuntu: apt install graphviz; macOS: brew install graphviz; conda: conda install graphviz); "
    "txt, dot, json, html and mermaid need nothing"
)


@dataclass(frozen=True, slots=True)
class DrawingProgram:
    """A program that makes images of DOT texts."""

    path: str
    formats: tuple[str, ...]
    font: str
    """The font to lay out with, of which the program knows the widths of the letters."""


def find_drawing_program(form: str = "svg") -> DrawingProgram | None:
    """The program that draws this format: `dot`, else `graphviz-pure`; None where neither is."""
    dot = shutil.which("dot")
    if dot is not None:
        return DrawingProgram(dot, IMAGES, FONT)
    # an environment's programs are found even where it is not activated
    places = os.environ.get("PATH", ""), sysconfig.get_path("scripts")
    port = shutil.which("graphviz-pure", path=os.pathsep.join(places))
    if port is not None and form != "pdf":
        return DrawingProgram(port, ("svg", "png"), "Arial")
    return None


def draw_image(dot_text: str, form: str, seconds: float = SECONDS) -> bytes:
    """The image (svg, png or pdf) that Graphviz makes of a DOT text of `write_dot`.

    Raises EnvironmentLimitError where no program draws the format, where it fails or takes longer
    than `seconds`.
    """
    program = find_drawing_program(form)
    if program is None:
        raise EnvironmentLimitError(
            f"{form} needs the program `dot` of Graphviz, which is not installed", fix=_INSTALL
        )
    try:
        result = run_check(
            [program.path, "-Kdot", f"-T{form}"],
            input=_with_font(dot_text, FONT, program.font).encode(),
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
        return _with_font(image.decode(), program.font, FONT).encode()
    return _DATE.sub(b"20000101000000", image) if form == "pdf" else image


def _with_font(text: str, old: str, new: str) -> str:
    """The text with another font. Quotes inside of names are escaped, so no name can match."""
    for attribute in ("fontname", "font-family"):
        text = text.replace(f'{attribute}="{old}"', f'{attribute}="{new}"')
    return text


def _failed(program: DrawingProgram, code: int, complaints: bytes) -> EnvironmentLimitError:
    reason = printable(complaints.decode(errors="replace").strip().split("\n")[0])
    return EnvironmentLimitError(
        f"Graphviz failed with exit code {code}: {reason or 'without a reason'}",
        program.path,
        "try the format dot, and see what its Graphviz says of the file",
    )
