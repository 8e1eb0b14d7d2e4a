"""What of the exchanges of a step is hidden by computing: as measured, and as the order allows.

A step is a row of lines that compute, among them the start and the wait of each collective. The
exchanges themselves are done by one thread, one after the other, each from its start on. While a
line waits nothing is computed; an exchange is hidden for as long as other lines run.

`allowed` plays the same lines and exchanges through without any loss: an exchange begins when it is
started and the one before has ended, a wait ends when its exchange has, everything else takes the
time that it took. So the allowed share says what the order of the program can hide, and the
measured one what it did hide.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphgrad.backends import Program
from graphgrad.graph import Node
from graphgrad.ops.collectives import wait
from graphgrad.passes.overlap import STARTS
from graphgrad.performance.line_profile import Mark, Profile
from graphgrad.ranks import Exchange

SHOWN_BY = 3
"""How many operations are named that hide a collective."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a step: what it is called, its seconds, and the collective that it starts, waits
    for, or starts and waits for."""

    name: str
    seconds: float
    starts: int | None = None
    waits: int | None = None


def allowed(lines: Sequence[Line], seconds: Mapping[int, float]) -> tuple[float, dict[int, float]]:
    """The seconds of a step whose collectives take `seconds` (by number), and how many seconds of
    each are hidden. The time that a wait has taken is not counted: it is what is computed here."""
    now = free = 0.0
    spans: dict[int, tuple[float, float]] = {}
    waited: list[tuple[float, float]] = []
    for line in lines:
        if line.waits is None:
            now += line.seconds
        if line.starts is not None:
            begin = max(now, free)
            free = begin + seconds[line.starts]
            spans[line.starts] = begin, free
        if line.waits is not None:
            end = max(now, spans[line.waits][1])
            waited.append((now, end))
            now = end
    hidden = {
        number: end - begin - sum(_common(begin, end, *each) for each in waited)
        for number, (begin, end) in spans.items()
    }
    return now, hidden


def _common(begin: float, end: float, first: float, last: float) -> float:
    """How long two spans of time have in common."""
    return max(0.0, min(end, last) - max(begin, first))


@dataclass(frozen=True, slots=True)
class Collective:
    """The times of one collective of a step; seconds are medians over the steps."""

    number: int
    name: str
    type: str
    bytes: int
    seconds: float
    hidden: float
    allowed: float
    by: tuple[tuple[str, float], ...]
    """The operations that hid it, and for how many seconds, the longest first."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "number": self.number,
            "name": self.name,
            "type": self.type,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "hidden_seconds": self.hidden,
            "allowed_seconds": self.allowed,
            "hidden_by": [{"operation": name, "seconds": each} for name, each in self.by],
        }


@dataclass(frozen=True, slots=True)
class Overlap:
    """The collectives of a step, in their order."""

    ranks: int
    collectives: tuple[Collective, ...]

    @property
    def bytes(self) -> int:
        """What a step adds up over the ranks."""
        return sum(each.bytes for each in self.collectives)

    @property
    def seconds(self) -> float:
        """How long the exchanges of a step take."""
        return sum(each.seconds for each in self.collectives)

    @property
    def hidden(self) -> float:
        """How much of that is hidden by computing."""
        return sum(each.hidden for each in self.collectives)

    @property
    def allowed(self) -> float:
        """How much of that the order of the program can hide."""
        return sum(each.allowed for each in self.collectives)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "ranks": self.ranks,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "hidden_seconds": self.hidden,
            "allowed_seconds": self.allowed,
            "collectives": [each.to_dict() for each in self.collectives],
        }


@dataclass(frozen=True, slots=True)
class _Measured:
    """An exchange of one step: the lines by which it was hidden, and what the order allows."""

    exchange: Exchange
    by: Mapping[str, float]
    allowed: float

    @property
    def hidden(self) -> float:
        return sum(self.by.values())


class Observed:
    """The steps of a program, as they are measured: `add` the marks and the exchanges of each."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._operation: dict[int, str] = {}
        self._starts: dict[int, int] = {}
        self._waits: dict[int, int] = {}
        self._nodes: dict[int, Node] = {}
        text = program.source.splitlines()
        for node in program.graph.nodes:
            line, number = program.line_of(node), node.attributes.get("number", -1)
            if line is None:
                continue
            self._operation[line] = text[line - 1].partition("(")[0].strip().rpartition(".")[2]
            if not node.operation.collective:
                continue
            self._nodes[number] = node
            if node.operation is not wait:
                self._starts[line] = number
            if node.operation not in STARTS.values():  # others are waited for where they start
                self._waits[line] = number
        self._steps: list[dict[int, _Measured]] = []

    def add(self, marks: Sequence[Mark], exchanges: Sequence[Exchange]) -> None:
        """Adds a step. Exchanges of other times are left aside."""
        begin, end = marks[0][1], marks[-1][1]
        own = [each for each in exchanges if begin <= each.began and each.ended <= end]
        lines = self.lines(marks)
        seconds = {each.number: each.seconds for each in own}
        _, possible = allowed(lines, seconds)
        found = {}
        for each in own:
            by: dict[str, float] = {}
            for line, ((_, first), (_, last)) in zip(lines, itertools.pairwise(marks), strict=True):
                common = _common(each.began, each.ended, first, last) / 1e9
                if common and line.waits is None:
                    by[line.name] = by.get(line.name, 0.0) + common
            found[each.number] = _Measured(each, by, possible[each.number])
        self._steps.append(found)

    @property
    def sizes(self) -> dict[int, int]:
        """The bytes of each collective, by its number."""
        return {number: node.type.nbytes for number, node in sorted(self._nodes.items())}

    def lines_of(self, found: Profile) -> list[Line]:
        """The lines of a profile, with the medians of their seconds."""
        return [self._line(each.line, each.seconds) for each in found.lines]

    def _line(self, line: int, seconds: float) -> Line:
        name = self._operation.get(line, "other")
        return Line(name, seconds, self._starts.get(line), self._waits.get(line))

    def lines(self, marks: Sequence[Mark]) -> list[Line]:
        """The lines of a step, with their seconds."""
        return [
            self._line(line, (end - begin) / 1e9)
            for (line, begin), (_, end) in itertools.pairwise(marks)
        ]

    def result(self, ranks: int) -> Overlap:
        """The medians over the steps."""
        graph, found = self._program.graph, []
        for number in sorted(self._steps[0]):
            steps = [step[number] for step in self._steps]
            middle = sorted(steps, key=lambda step: step.hidden)[len(steps) // 2]
            node = self._nodes[number]
            hidden = statistics.median(each.hidden for each in steps)
            share = hidden / middle.hidden if middle.hidden else 0.0
            by = {name: share * seconds for name, seconds in middle.by.items()}
            found.append(
                Collective(
                    number,
                    graph.name_of(node),
                    str(node.type),
                    middle.exchange.bytes,
                    statistics.median(each.exchange.seconds for each in steps),
                    hidden,
                    statistics.median(each.allowed for each in steps),
                    tuple(sorted(by.items(), key=lambda each: -each[1])[:SHOWN_BY]),
                )
            )
        return Overlap(ranks, tuple(found))
