"""`graphgrad guide`: the guide in the terminal, or as one HTML page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from graphgrad.errors import ConfigurationError
from graphgrad.files import write_atomically
from graphgrad.guide import GROUPS, TOPICS, build_guide, text_of, topics_called
from graphgrad.tools.streams import say

HELP = "read the guide: a tutorial, how it works, your own parts, reference"
DESCRIPTION = """Without a topic, lists the topics. With one (or a group of them), prints its pages:
laid out in a terminal, as Markdown into a pipe. --html writes all of it as one offline page with a
search.

    graphgrad guide
    graphgrad guide neuron
    graphgrad guide tutorial
    graphgrad guide operations
    graphgrad guide --html guide.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("topic", nargs="?", help="a topic or a group of topics")
    parser.add_argument("--html", metavar="FILE", help="write the whole guide as one HTML page")


def run(arguments: argparse.Namespace) -> int:
    """Lists, prints or writes."""
    if arguments.html is not None:
        _write(arguments.html, arguments.topic)
    elif arguments.topic is None:
        _list()
    else:
        for topic in topics_called(arguments.topic):
            _print(text_of(topic))
    return 0


def _write(file: str, topic: str | None) -> None:
    if topic is not None:
        raise ConfigurationError(
            "--html writes the whole guide, and a topic is given",
            fix=f"leave {topic!r} out, or leave --html out",
        )
    if not file:
        raise ConfigurationError("--html '' is not the name of a file", fix="--html guide.html")
    content = build_guide().encode()
    write_atomically(Path(file), content)
    say(f"written {file} ({len(content):,} bytes)")


def _list() -> None:
    width = max(len(topic.name) for topic in TOPICS)
    for group, heading in GROUPS.items():
        say(f"{heading} ({group})")
        for topic in TOPICS:
            if topic.group == group:
                say(f"  {topic.name:<{width}}  {topic.summary}")
        say("")
    say("graphgrad guide TOPIC prints one; graphgrad guide --html guide.html writes all of it")


def _print(text: str) -> None:
    if sys.stdout.isatty():
        Console(highlight=False).print(Markdown(text, hyperlinks=False))
    else:
        say(text)
