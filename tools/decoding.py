"""The options of commands that decode, and the word that they give to a person who waits."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from graphgrad.decoding import Options, Stopped
from graphgrad.training.interrupt import InterruptGuard
from graphgrad.training.waiting import Waiting


def add_decoding_options(parser: argparse.ArgumentParser, drawing: bool = True) -> None:
    """Declare how tokens are chosen; without `drawing`, the most probable ones only."""
    known = Options()
    group = parser.add_argument_group("decoding", "by default greedy: the most probable token")
    group.add_argument(
        "--beam",
        type=int,
        default=known.beam,
        metavar="N",
        help="follow N sequences side by side and take the best (default: 1)",
    )
    group.add_argument(
        "--length-penalty",
        type=float,
        default=known.length_penalty,
        metavar="A",
        help="a sequence of n tokens has the score log p / n^A (default: 1; 0 prefers short ones)",
    )
    group.add_argument(
        "--no-repeat",
        type=int,
        default=known.no_repeat,
        metavar="N",
        help="never give N tokens in a row twice (default: 0, no limit)",
    )
    if not drawing:
        return
    group.add_argument(
        "--temperature",
        type=float,
        default=known.temperature,
        metavar="T",
        help="draw tokens with p^(1/T) instead (default: 0, the most probable)",
    )
    group.add_argument(
        "--top-k", type=int, default=known.top_k, metavar="K", help="draw from the K most probable"
    )
    group.add_argument(
        "--top-p",
        type=float,
        default=known.top_p,
        metavar="P",
        help="draw from the fewest tokens that have probability P together",
    )
    group.add_argument(
        "--seed", type=int, default=known.seed, metavar="S", help="of what is drawn (default: 0)"
    )


def options_of(arguments: argparse.Namespace, n_best: int = 1, scores: bool = False) -> Options:
    """The options that were given. Raises ConfigurationError where they make no sense."""
    given = vars(arguments)
    names = ("beam", "length_penalty", "no_repeat", "temperature", "top_k", "top_p", "seed")
    chosen = {name: given[name] for name in names if name in given}
    return Options(**chosen, n_best=n_best, scores=scores)


@contextmanager
def waited_for() -> Iterator[tuple[Waiting, InterruptGuard]]:
    """Somebody who looks on and tells standard error; Ctrl-C ends what is decoded and keeps what is
    done, and a second one ends everything."""
    with InterruptGuard() as guard:

        def stopped() -> None:
            if guard.requested:
                raise Stopped

        with Waiting(stopped=stopped) as waiting:
            yield waiting, guard
