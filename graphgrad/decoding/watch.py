"""Reports the progress of decoding to a function, which may stop it."""

from __future__ import annotations

from collections.abc import Callable

Watch = Callable[[int, int], None]
"""Called after each step with the number of decoded sentences and their total; may raise
`Stopped`."""


class Stopped(Exception):
    """Raised by a watch to stop decoding; finished sentences are yielded first."""


def nobody(done: int, total: int) -> None:
    """The watch that does nothing."""
