"""Proves of recorded streams that nothing is read before it was written, nor overwritten in use.

Each operation knows how far every stream, and the host, certainly is when it runs: what was given
to its own stream before it, what an event that it waits for has behind it, and what the host knew
when it gave the operation. Of two operations on the same bytes one of which writes them, the later
one has to know the earlier one to be done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cpu_backend import Operation, Range

STREAMS = ("host", "work", "copies")
Clock = dict[str, int]


def clocks_of(operations: Sequence[Operation]) -> list[Clock]:
    """For each operation how many of each stream are done when it runs, itself counted."""
    of_stream: dict[str, Clock] = {name: dict.fromkeys(STREAMS, 0) for name in STREAMS}
    of_event: dict[int, Clock] = {}
    found = []
    for operation in operations:
        clock = dict(of_stream[operation.stream])
        if operation.stream != "host":
            clock = _later(clock, of_stream["host"])
        if operation.kind == "wait":
            clock = _later(clock, of_event[operation.event])
        elif operation.kind in ("fetch", "finish"):
            clock = _later(clock, of_stream["work"])
            if operation.kind == "finish":
                clock = _later(clock, of_stream["copies"])
        clock[operation.stream] += 1
        of_stream[operation.stream] = clock
        if operation.kind == "record":
            of_event[operation.event] = clock
        found.append(clock)
    return found


def _later(one: Clock, other: Clock) -> Clock:
    return {name: max(one[name], other[name]) for name in STREAMS}


def faults_of(operations: Sequence[Operation]) -> Iterator[str]:
    """The pairs of operations that meet in the same bytes in no certain order."""
    clocks = clocks_of(operations)
    for late, operation in enumerate(operations):
        for early, other in enumerate(operations[:late]):
            if not _meet(operation, other):
                continue
            if clocks[late][other.stream] < clocks[early][other.stream]:
                yield f"{operation.kind} {late} does not wait for {other.kind} {early}"


def _meet(one: Operation, other: Operation) -> bool:
    pairs = [(one.writes, other.writes), (one.writes, other.reads), (one.reads, other.writes)]
    return any(_overlap(a, b) for left, right in pairs for a in left for b in right)


def _overlap(one: Range, other: Range) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def unwritten(operations: Sequence[Operation]) -> Iterator[str]:
    """The copies of bytes that nobody wrote before."""
    for late, operation in enumerate(operations):
        for its in operation.reads:
            before = [place for each in operations[:late] for place in each.writes]
            if not any(begin <= its[0] and its[1] <= end for begin, end in before):
                yield f"{operation.kind} {late} reads what nobody wrote"
