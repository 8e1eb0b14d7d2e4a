"""The options of an imitated link between the ranks of one machine."""

from __future__ import annotations

import argparse

from graphgrad.errors import ConfigurationError
from graphgrad.ranks import Link
from graphgrad.tools.options import Option

LINK_OPTIONS = (
    Option(
        "--link-delay",
        type=float,
        metavar="MS",
        default=0.0,
        help="with ranks: let every message take so many milliseconds more, to see what a network "
        "would do (default: 0)",
    ),
    Option(
        "--link-rate",
        type=float,
        metavar="GB/S",
        help="with ranks: let no more than so many gigabytes pass between two ranks in a second, "
        "1 Gb/s being 0.125 (default: no limit)",
    ),
)


def link_of(arguments: argparse.Namespace) -> Link:
    """The link that the options describe. Raises ConfigurationError for one that cannot be."""
    delay, rate = arguments.link_delay, arguments.link_rate
    if rate is not None and not rate > 0.0:
        raise ConfigurationError(f"--link-rate {rate:g} lets nothing pass", fix="more than 0")
    if not 0.0 <= delay < 1e6:
        raise ConfigurationError(
            f"--link-delay {delay:g} is no time of a message", fix="0 or more milliseconds"
        )
    return Link(delay / 1e3) if rate is None else Link(delay / 1e3, rate * 1e9)
