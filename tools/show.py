"""`graphgrad show`: one topic of the lecture, with numbers computed by a graph."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.files import write_atomically
from graphgrad.lecture import (
    TOPICS,
    Request,
    Topic,
    lesson_html,
    lesson_picture,
    lesson_text,
    topic_called,
)
from graphgrad.text import printable, suggestion
from graphgrad.tools.opening import is_run, run_of
from graphgrad.tools.options import CHECKPOINT_OPTION, MODEL_OPTION, Option, add_options
from graphgrad.tools.streams import say, tell, write_document

HELP = "show a topic of the lecture, worked through with numbers"
DESCRIPTION = """Works a topic of the lecture through: text and tables in the terminal; with
--output its pictures (svg; png and pdf need matplotlib) or all of it as an HTML page. Every number
is computed by a graph that is declared, derived and run. Without a topic, lists the topics.

    graphgrad show
    graphgrad show network
    graphgrad show lookup --set scores=112,96 --set width=64
    graphgrad show network runs/feedforward-001 --set example=3
    graphgrad show attention --text "The animal was tired" -o attention.html
    graphgrad show heads RUN "a sentence" -o heads.svg
    graphgrad show decoding RUN "de: Sonntag, 22. November 2026"
"""
MIXED = True
"""Texts may stand behind the options."""

OPTIONS = (
    Option("topic", nargs="?", help="a topic; without one they are listed"),
    Option("words", nargs="*", metavar="RUN TEXT", help="a run folder, a text, where they apply"),
    MODEL_OPTION,
    CHECKPOINT_OPTION,
    Option("--text", metavar="TEXT", help="the words that are looked at"),
    Option(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a number of the topic (`graphgrad show` lists them); may be repeated",
    ),
    Option("--output", "-o", metavar="FILE", help="write FILE: .svg, .png, .pdf, .html or .txt"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Prints a lesson, or writes it to a file."""
    if arguments.topic is None:
        _list()
        return 0
    topic = topic_called(arguments.topic)
    lesson = topic.lesson(_request(topic, arguments))
    if arguments.output is None:
        write_document(lesson_text(lesson, _command(topic, arguments)))
        return 0
    file = Path(arguments.output)
    form = file.suffix.lower().removeprefix(".")
    if form == "html":
        content = lesson_html(lesson).encode()
    elif form == "txt":
        content = lesson_text(lesson).encode()
    else:
        content = lesson_picture(lesson, form, lambda note: tell(f"note: {note}"))
    write_atomically(file, content)
    say(f"written {file} ({len(content):,} bytes)")
    return 0


def _command(topic: Topic, arguments: argparse.Namespace) -> str:
    """The command that writes the pictures of what was asked."""
    words = ["graphgrad", "show", topic.name, *arguments.words]
    words += ["--text", arguments.text] if arguments.text is not None else []
    words += ["--checkpoint", arguments.checkpoint] if arguments.checkpoint else []
    words += [part for assignment in arguments.set for part in ("--set", assignment)]
    return f"{shlex.join(map(printable, words))} --output FILE.svg"


def _list() -> None:
    width = max(len(topic.name) for topic in TOPICS)
    for topic in TOPICS:
        say(f"{topic.name:<{width}}  {topic.summary}")
        if topic.options:
            options = "  ".join(f"{name}={value or '…'}" for name, value in topic.options.items())
            say(f"{'':<{width}}      --set {options}")
    say("\ngraphgrad show TOPIC works one through; graphgrad guide lecture reads them in order")


def _request(topic: Topic, arguments: argparse.Namespace) -> Request:
    words = list(arguments.words)
    opened = None
    if words and topic.run and (not topic.text or is_run(words[0])):
        opened = run_of(
            words.pop(0), model_file=arguments.model_file, checkpoint=arguments.checkpoint
        )
    elif topic.needs_run:
        raise ConfigurationError(
            f"{topic.name} needs a run and a text", fix=f'graphgrad show {topic.name} RUN "…"'
        )
    elif arguments.model_file is not None:
        raise ConfigurationError("--model names the model of a run, and there is no run")
    if words and arguments.text is not None:
        raise ConfigurationError("the text is given twice", fix="leave --text out")
    if words and not topic.takes_text:
        raise ConfigurationError(
            f"{topic.name} takes no text: {words[0]!r:.60}", fix=f"graphgrad show {topic.name}"
        )
    if arguments.text is not None and not topic.takes_text:
        raise ConfigurationError(f"{topic.name} takes no text", fix="leave --text out")
    text = arguments.text if arguments.text is not None else " ".join(words)
    default = "" if opened else topic.text
    return Request(_options(topic, arguments.set), text or default, opened)


def _options(topic: Topic, assignments: list[str]) -> Mapping[str, str]:
    """The options of a topic, with those that the user changes."""
    chosen = dict(topic.options)
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign:
            raise ConfigurationError(f"--set {assignment!r:.60} has no =", fix="--set KEY=VALUE")
        if name not in chosen:
            raise UnknownNameError(
                f"{topic.name} has no option {name!r:.60}",
                fix=suggestion(name, topic.options, "options") if topic.options else "it has none",
            )
        chosen[name] = value
    return chosen
