"""What a user asks of a topic: its numbers by name, a text, a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.text import suggestion
from graphgrad.training.runs import OpenRun

MOST = 64
"""The most numbers of a list, and the most words of a text."""


@dataclass(frozen=True)
class Request:
    """Options as text by name (those of the topic, with its defaults), and the subject."""

    options: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    run: OpenRun | None = None

    def numbers(self, name: str, count: int | None = None) -> tuple[float, ...]:
        """A list of numbers: `1, 2, -0.5`; exactly `count` of them if it is given."""
        parts = [part.strip() for part in self.options[name].split(",")]
        try:
            found = tuple(float(part.replace("−", "-")) for part in parts)
        except ValueError:
            found = ()
        if not found or not all(map(math.isfinite, found)) or len(found) > MOST:
            raise ConfigurationError(
                f"{name} must be numbers with commas between, at most {MOST}, not "
                f"{self.options[name]!r:.60}",
                fix=f"--set {name}=1,2,3",
            )
        if count is not None and len(found) != count:
            raise ConfigurationError(f"{name} must be {count} numbers, and {len(found)} are given")
        return found

    def number(self, name: str) -> float:
        """One number."""
        return self.numbers(name, 1)[0]

    def whole(self, name: str, least: int, most: int) -> int:
        """A whole number in a range."""
        value = self.number(name)
        if value != int(value) or not least <= value <= most:
            raise ConfigurationError(f"{name} must be a whole number from {least} to {most}")
        return int(value)

    def word(self, name: str, known: Mapping[str, object]) -> str:
        """One of the known words."""
        word = self.options[name]
        if word not in known:
            raise UnknownNameError(
                f"{name} cannot be {word!r:.60}", fix=suggestion(word, known, f"{name}")
            )
        return word

    def words(self, least: int = 1, most: int = 16) -> tuple[str, ...]:
        """The words of the text."""
        words = tuple(self.text.split())
        if not least <= len(words) <= most:
            raise ConfigurationError(
                f"the text must have {least} to {most} words, and has {len(words)}",
                fix='--text "The animal was tired"',
            )
        return words
