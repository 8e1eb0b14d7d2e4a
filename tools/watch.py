"""`graphgrad watch`: shows the page of a run while it trains, refreshed from its folder."""

from __future__ import annotations

import argparse
import html
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from graphgrad.errors import ConfigurationError
from graphgrad.page.run_sections import Shown
from graphgrad.page.sentences import sentence_feeds
from graphgrad.tools.opening import folder_of, run_of
from graphgrad.tools.options import MODEL_OPTION, TARGET_OPTION, Option, add_options
from graphgrad.tools.streams import say, tell
from graphgrad.tools.watch_pages import Pages
from graphgrad.tools.watch_server import WatchServer

HELP = "show the page of a run in the browser while it trains"
DESCRIPTION = """Serves the page of RUN that `graphgrad render RUN -o page.html` writes, to this
machine alone, and refreshes it from the run folder while the run trains: open scopes, the selected
node and the tab stay as they are. Further runs are drawn beside the first over the steps. Prints
the address, which has a random token in it; Ctrl-C ends it. Training is hardly slowed down: the
page is computed at the lowest priority, only when a file has changed, and only while it is open.
With --text the page shows the attention of that sentence as it changes.

    graphgrad watch runs/transformer-001
    graphgrad watch runs/transformer-001 --text "de: 22. November 2026"
    graphgrad watch runs/transformer-002 runs/transformer-001 --open
"""
OPTIONS = (
    Option("run", nargs="+", help="a run folder; the graph and the figures are those of the first"),
    MODEL_OPTION,
    Option(
        "--text",
        metavar="TEXT",
        action="append",
        default=[],
        help="a sentence whose attention the page shows, read by each new state of the run; may be "
        "repeated",
    ),
    TARGET_OPTION,
    Option("--port", type=int, default=0, help="the port to listen on (default: a free one)"),
    Option(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="open the page in the browser (default: print its address)",
    ),
)
_MOMENT = 0.5  # seconds that a build may take to end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C."""
    folders = [folder_of(path) for path in arguments.run]
    names = [folder.path.name or str(folder.path) for folder in folders]
    pages = Pages(arguments.run, arguments.model_file, _shown(arguments))
    with WatchServer(pages, names, arguments.port) as server:
        builder = threading.Thread(target=pages.follow, name="pages", daemon=True)
        builder.start()
        try:
            say(server.address)
            sys.stdout.flush()
            tell(f"{', '.join(names)} at this address; Ctrl-C ends it")
            with _opened(server.address) if arguments.open else nullcontext():
                server.serve_forever()
        except KeyboardInterrupt:
            tell(f"no longer watching {', '.join(names)}")
        finally:
            pages.closed.set()
            builder.join(_MOMENT)
    return 0


def _shown(arguments: argparse.Namespace) -> Shown:
    """The sentences; raises an error for those that the run's model cannot read."""
    texts, target = arguments.text, arguments.target
    if target and not texts:
        raise ConfigurationError("--target is the answer to a text", fix="give --text, too")
    if texts:
        run = run_of(arguments.run[0], told=False, model_file=arguments.model_file)
        sentence_feeds(run, texts, target)
    return Shown(texts=tuple(texts), target=target)


@contextmanager
def _opened(address: str) -> Iterator[None]:
    """Opens the address in the browser while the block runs.

    The browser is given a file of this user that leads to the address: what a program is started
    with can be read by every user of the machine, and the address holds the token.
    """
    text = f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">'
    descriptor, name = tempfile.mkstemp(".html", "graphgrad-watch-")  # readable by this user only
    file = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        if not webbrowser.open(file.as_uri()):
            tell("note: no browser could be started; open the address yourself")
        yield
    finally:
        with suppress(OSError):
            file.unlink()
