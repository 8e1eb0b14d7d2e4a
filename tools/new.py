"""`graphgrad new`: a starter model file, ready to be trained and changed."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from graphgrad.errors import ConfigurationError
from graphgrad.files import disk_errors
from graphgrad.guide import guide_file
from graphgrad.tools.streams import say

HELP = "write a starter model file that trains"
DESCRIPTION = """Writes a small model with its data as one Python file to begin with; a file that is
there already stays as it is.

    graphgrad new my_model.py
    graphgrad train my_model.py
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("file", help="the file to write, which ends with .py")


def run(arguments: argparse.Namespace) -> int:
    """Writes the file and says what to do with it."""
    path = Path(arguments.file)
    if path.suffix != ".py":
        raise ConfigurationError(
            f"{arguments.file!r} is not the name of a Python file",
            fix=f"graphgrad new {shlex.quote((path.stem or 'my_model') + '.py')}",
        )
    with disk_errors(path, "write"):
        try:
            file = path.open("x", encoding="utf-8")
        except FileExistsError:
            raise ConfigurationError(
                f"{arguments.file} is there already", fix="another name; nothing is overwritten"
            ) from None
        try:
            with file:
                file.write(guide_file("starter.py"))
        except BaseException:
            path.unlink(missing_ok=True)  # no half of a file stays
            raise
    quoted = shlex.quote(arguments.file)
    say(
        f"written {arguments.file}; now:\n"
        f"    graphgrad train {quoted}\n"
        f"    graphgrad render {quoted} --output model.html"
    )
    return 0
