"""Finds the programs that draw pictures from DOT texts.

Two programs can: `dot`, of a Graphviz that the system has, draws every format; `graphviz-pure`, a
port of Graphviz that pip installs (`graphgrad[pictures]`), draws SVG and PNG. `dot` is preferred.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from dataclasses import dataclass
from typing import Literal

IMAGES = ("svg", "png", "pdf")
INSTALL_GRAPHVIZ = "apt install graphviz, brew install graphviz or conda install graphviz"
INSTALL_PORT = "pip install 'graphgrad[pictures]'"


@dataclass(frozen=True, slots=True)
class DrawingProgram:
    """A program that makes images of DOT texts: its path, and the formats that it can write."""

    name: Literal["dot", "graphviz-pure"]
    path: str
    formats: tuple[str, ...]


def find_drawing_program(form: str = "svg") -> DrawingProgram | None:
    """The program that draws this format: `dot`, else `graphviz-pure`; None if neither can."""
    for find in (find_dot, find_port):
        program = find()
        if program is not None and form in program.formats:
            return program
    return None


def find_dot() -> DrawingProgram | None:
    """Graphviz's `dot`, if the system has it."""
    path = shutil.which("dot")
    return None if path is None else DrawingProgram("dot", path, IMAGES)


def find_port() -> DrawingProgram | None:
    """The port of Graphviz, if it is installed; also from an environment that is not activated."""
    folders = os.environ.get("PATH", ""), sysconfig.get_path("scripts")
    path = shutil.which("graphviz-pure", path=os.pathsep.join(folders))
    return None if path is None else DrawingProgram("graphviz-pure", path, ("svg", "png"))
