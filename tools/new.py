"""`graphgrad new`: writes a starter model file, ready to be trained and changed."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from graphgrad.errors import ConfigurationError
from graphgrad.files import disk_errors
from graphgrad.guide import guide_file
from graphgrad.tools.options import Option, add_options
from graphgrad.tools.streams import say

HELP = "write a starter model file that trains"
DESCRIPTION = """Writes a small model with its data as one Python file to start from. A file that
exists is not overwritten.

    graphgrad new my_model.py
    graphgrad train my_model.py
"""


OPTIONS = (Option("file", help="the file to write, which ends with .py"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Writes the file and prints the next commands."""
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
                f"{arguments.file} exists already",
                fix="choose another name; nothing is overwritten",
            ) from None
        try:
            with file:
                file.write(guide_file("starter.py"))
        except BaseException:
            path.unlink(missing_ok=True)  # so that no partial file remains
            raise
    quoted = shlex.quote(arguments.file)
    say(
        f"written {arguments.file}; now:\n"
        f"    graphgrad train {quoted}\n"
        f"    graphgrad render {quoted} --output model.html"
    )
    return 0
