"""Profiles a training step of several ranks: what is sent, how long it takes, and what hides it.

The first rank is the command itself; the others are started as

    python -m graphgrad.tools.profile_ranks MEMORY RANK RANKS CORES

and run the same steps on their parts of the batch, without a clock.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from threadpoolctl import threadpool_limits

from graphgrad.errors import ConfigurationError
from graphgrad.performance.line_profile import Profile, profile, runs_of
from graphgrad.performance.overlap import Observed, Overlap
from graphgrad.ranks import TIME_LIMIT, Link, Timed, over
from graphgrad.tools.profiled import profiled
from graphgrad.tools.ranks import connected, started, told

_WHAT = 1
"""The number of the message that says what is profiled."""


def measure_on_ranks(
    name: str, assignments: list[str], steps: int, size: int, link: Link, without: str = ""
) -> tuple[Profile, Observed]:
    """The profile of the first of `size` ranks that train a model or a run over a link, and what
    was observed of its collectives; `without` leaves out an optimisation."""
    if size < 2:
        raise ConfigurationError(
            f"--ranks {size} are no ranks between which anything is sent", fix="--ranks 2"
        )
    with started("graphgrad.tools.profile_ranks", size, TIME_LIMIT, None) as leader, told(leader):
        what = [name, assignments, steps, link.latency, link.rate, without]
        leader.gather(json.dumps(what).encode(), _WHAT, patient=True)
        timed = Timed(over(leader, link))
        with threadpool_limits(leader.cores, "blas"):
            words = without.split()
            program, state, feeds = profiled(name, assignments, communicator=timed, without=words)
            leader.gather(b"", _WHAT, patient=True)  # compiling takes its time
            observed = Observed(program)
            found = profile(
                program,
                state,
                lambda step: feeds,
                steps,
                lambda marks: observed.add(marks, timed.exchanges),
            )
        leader.gather(b"", _WHAT, patient=True)
    return found, observed


def _megabytes(size: int) -> str:
    """Megabytes to two places, or as many as a small value needs to be seen."""
    return f"{size / 1e6:.2f}" if size >= 5000 else f"{size / 1e6:.2g}"


def overlap_text(found: Overlap, link: Link) -> str:
    """The collectives of a step, as text."""
    over_link = ""
    if not link.is_instant:
        rate = "any rate" if link.rate == float("inf") else f"{link.rate / 1e9:g} GB/s"
        over_link = f" over a link of {link.latency * 1e3:g} ms a message and {rate}"
    several = (
        "collectives, which take" if len(found.collectives) != 1 else "collective, which takes"
    )
    head = (
        f"{found.ranks} ranks{over_link}: a step adds up {_megabytes(found.bytes)} MB in "
        f"{len(found.collectives)} {several} {found.seconds * 1e3:.2f} ms; "
        f"{found.hidden * 1e3:.2f} ms of that are hidden, of {found.allowed * 1e3:.2f} ms that the "
        "order of the program allows"
    )
    lines = [head, "", f"{'MB':>9}{'ms':>10}{'hidden':>8}{'allowed':>9}  collective  (hidden by)"]
    for each in found.collectives:
        seconds = each.seconds or 1.0
        by = ", ".join(f"{name} {part / seconds:.0%}" for name, part in each.by)
        lines.append(
            f"{_megabytes(each.bytes):>9}{each.seconds * 1e3:>10.3f}{each.hidden / seconds:>8.0%}"
            f"{each.allowed / seconds:>9.0%}  {each.name} : {each.type}"
            + (f"  ({by})" if by else "")
        )
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Runs a rank beside the first one."""
    communicator = connected(words)
    what = json.loads(communicator.gather(b"", _WHAT, patient=True)[0])
    name, assignments, steps, latency, rate, without = what
    with told(communicator), threadpool_limits(communicator.cores, "blas"):
        link = over(communicator, Link(latency, rate))
        words = without.split()
        program, state, feeds = profiled(name, assignments, communicator=link, without=words)
        communicator.gather(b"", _WHAT, patient=True)
        own = {each: array.copy() for each, array in state.items()}
        for _ in range(runs_of(steps)):
            program(own, **feeds)
        communicator.gather(b"", _WHAT, patient=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
