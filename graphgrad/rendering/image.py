"""Images by Graphviz: the program `dot` as a process of its own, with a limit and no way around.

The text goes in through standard input and the image comes out through standard output; nothing is
passed but a list of arguments, and on the limit the whole process group is killed. Images are the
same bytes every time: the one moving part, the date in a PDF, is held fixed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress

from graphgrad.errors import EnvironmentLimitError
from graphgrad.text import printable

IMAGES = ("svg", "png", "pdf")
SECONDS = 60.0
_LARGEST = 256 * 2**20  # bytes of an image
_DATE = re.compile(rb"(?<=Date \(D:)[0-9]{14}")


def draw_image(dot_text: str, form: str, seconds: float = SECONDS) -> bytes:
    """The image (svg, png or pdf) that `dot` makes of a DOT text, within the limit of time.

    Raises EnvironmentLimitError where there is no `dot`, where it fails or takes longer.
    """
    program = shutil.which("dot")
    if program is None:
        raise EnvironmentLimitError(
            f"{form} needs the program `dot` of Graphviz, which is not installed",
            "",
            "install it (Debian, Ubuntu: apt install graphviz; macOS: brew install graphviz; "
            "conda: conda install graphviz); txt, dot, json, html and mermaid need nothing",
        )
    process = subprocess.Popen(
        [program, f"-T{form}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        image, complaints = process.communicate(dot_text.encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        raise EnvironmentLimitError(
            f"`dot` did not finish within {seconds:g} seconds",
            f"{dot_text.count(chr(10)):,} lines of DOT",
            "draw less: --depth 2 makes boxes of deeper scopes, --forward leaves the deltas out; "
            "or write the DOT text and lay it out on its own",
        ) from None
    finally:
        _kill(process)
    if process.returncode != 0 or not image:
        reason = printable(complaints.decode(errors="replace").strip().split("\n")[0])
        raise EnvironmentLimitError(
            f"`dot` failed with exit code {process.returncode}: {reason or 'it says no reason'}",
            program,
            "try the format dot, and see what its Graphviz says of the file",
        )
    if len(image) > _LARGEST:
        raise EnvironmentLimitError(f"the image is {len(image):,} bytes large", fix="draw less")
    return _DATE.sub(b"20000101000000", image) if form == "pdf" else image


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all it started, and leaves no zombie."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()
