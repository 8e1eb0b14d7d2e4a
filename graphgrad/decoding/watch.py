"""Who looks on while decoding goes on, and may end it."""

from __future__ import annotations

from collections.abc import Callable

Watch = Callable[[int, int], None]
"""Told after each step how many sentences of how many are done. It may raise `Stopped`."""


class Stopped(Exception):
    """Raised by a watch to end decoding: what is done is kept by whoever has asked for it."""


def nobody(done: int, total: int) -> None:
    """Looks at nothing."""
