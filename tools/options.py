"""Declares the options of a command as a table.

    OPTIONS = (
        Option("run", help="a run folder"),
        MODEL_OPTION,
        OneOf(
            Option("--json", action="store_true", help="print one JSON object"),
            Option("--csv", action="store_true", help="print comma-separated values"),
        ),
    )

A command adds its table to its parser by `add_options`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from graphgrad.options import BACKENDS, PRECISIONS


class Option:
    """An option or a positional argument, with the arguments of `argparse`'s `add_argument`."""

    def __init__(self, *names: str, **keywords: Any) -> None:
        self.names, self.keywords = names, keywords


class OneOf:
    """Options of which a user may give at most one."""

    def __init__(self, *options: Option) -> None:
        self.options = options


def add_options(parser: argparse.ArgumentParser, table: Iterable[Option | OneOf]) -> None:
    """Adds the options of a table to a parser, in order."""
    for entry in table:
        if isinstance(entry, OneOf):
            group = parser.add_mutually_exclusive_group()
            for option in entry.options:
                group.add_argument(*option.names, **option.keywords)
        else:
            parser.add_argument(*entry.names, **entry.keywords)


BACKEND_OPTION = Option(
    "--backend",
    choices=BACKENDS,
    help="what computes: numpy, or cupy for a CUDA device (default: what the run was trained with "
    "where the machine has it, else numpy)",
)
"""`--backend NAME`, by which a user chooses between the processor and a device."""

TARGET_OPTION = Option(
    "--target",
    metavar="TEXT",
    default="",
    help="the answer to the text, whose loss has the deltas (default: the model's own)",
)
"""`--target TEXT`, by which a user gives the answer to a text."""

MODEL_OPTION = Option(
    "--model",
    dest="model_file",
    metavar="FILE",
    help="the Python file of the run's model, where it was moved or edited, or "
    "is not one that you trained with: it is run",
)
"""`--model FILE`, by which a user names the file of a run's model."""

PRECISION_OPTION = Option(
    "--precision",
    choices=PRECISIONS,
    help="what matrix products read (`graphgrad guide precision`; default: fp32, or what the run "
    "had before)",
)
"""`--precision P`, which is short for `--set precision=P`."""


def assignments_of(arguments: argparse.Namespace) -> list[str]:
    """What `--set`, `--precision` and `--backend` say, as `KEY=VALUE`."""
    given = {name: getattr(arguments, name, None) for name in ("precision", "backend")}
    asked = [f"{name}={value}" for name, value in given.items() if value is not None]
    return [*arguments.set, *asked]


CHECKPOINT_OPTION = Option(
    "--checkpoint",
    metavar="NAME",
    default="",
    help="which state of the run: last (the newest, the default), best (by the figure on held-out "
    "data that its setting best_metric names), or the number of a step",
)
"""`--checkpoint NAME`, by which a user chooses one of the states that a run has kept."""

WEIGHTS_OPTION = Option(
    "--weights",
    choices=("average", "own"),
    help="the moving average of the parameters, or these themselves (default: as the run's setting "
    "use_average says; matters with average_decay only)",
)
"""`--weights`, by which a user chooses between parameters and their moving average."""
