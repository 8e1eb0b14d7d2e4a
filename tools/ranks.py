"""Starts the ranks of `graphgrad train --ranks N`, and is what a rank beside the first one runs.

The first rank is the command itself. The others are started as

    python -m graphgrad.tools.ranks MEMORY RANK RANKS CORES SECONDS

with a file of shared memory, in which the first one tells them the run. What they write is in the
run's folder, `rank-1.log` and so on. They end when the first one does, in whatever way. Ranks that
`mpiexec -n N graphgrad train …` has started find each other by MPI and are the same command: the
first one does what it says, the others follow.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from graphgrad.backends import devices_of_ranks
from graphgrad.errors import ConfigurationError, GraphgradError
from graphgrad.loops.threads import usable_cores
from graphgrad.models import BUILTIN
from graphgrad.ranks import (
    Communicator,
    Link,
    Lone,
    Mpi,
    Shared,
    create,
    over,
    place_on_machine,
    ranks_of_mpi,
)
from graphgrad.training.rounds import team_for
from graphgrad.training.runs import OpenRun, open_run
from graphgrad.training.team import Team

OPENED = -3
"""The number of the message that says which run it is."""
RANKS_LOST = 75
"""The exit code of a training that has lost a rank: it can be started again."""
DIRECT = Link()
"""Ranks that are connected as they are."""
TeamOfRun = Callable[[OpenRun], contextlib.AbstractContextManager[Team | None]]
DEVICES = "CUDA_VISIBLE_DEVICES"
LATEST = 20.0
"""Seconds in which a rank that was told to end does so."""


@contextlib.contextmanager
def team_of(
    run: OpenRun, size: int, time_limit: float, link: Link = DIRECT
) -> Iterator[Team | None]:
    """The team that trains a run: its other ranks are started, and end with the block."""
    if size == 1:
        yield team_for(run, Lone()) if run.settings.local_steps > 1 else None
        return
    module = "graphgrad.tools.ranks"
    devices = devices_of_ranks(size) if run.settings.backend == "cupy" else ()
    with (
        started(module, size, time_limit, run.folder.path, devices) as leader,
        leading(run, leader, link) as team,
    ):
        yield team


@contextlib.contextmanager
def started(
    module: str,
    size: int,
    time_limit: float,
    logs: Path | None,
    devices: Sequence[str] = (),
) -> Iterator[Shared]:
    """The first of some ranks of this machine: the others run a module, and are waited for at the
    end of the block. What they write is in the folder `logs`, if there is one. Each rank but the
    first, whose device is the current one, sees its own of the `devices`."""
    memory = create(size)
    cores = max(1, usable_cores() // size)
    followers: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(1, size):
            words = [module, str(memory), str(rank), str(size), str(cores), str(time_limit)]
            log = Path(os.devnull) if logs is None else logs / f"rank-{rank}.log"
            device = {DEVICES: devices[rank]} if devices else {}
            followers.append(_start(words, cores, log, device))
        leader = Shared(
            memory, 0, size, time_limit, lambda rank: followers[rank - 1].poll() is None, cores
        )
        leader.gather(b"", OPENED, patient=True)  # all have opened the memory
        memory.unlink()
        yield leader
    finally:
        memory.unlink(missing_ok=True)
        for follower in followers:
            _ended(follower)


@contextlib.contextmanager
def leading(run: OpenRun, leader: Communicator, link: Link = DIRECT) -> Iterator[Team]:
    """The team of a leader whose followers wait for a run: they open it, and end with the block."""
    with told(leader), threadpool_limits(leader.cores, "blas"):
        leader.gather(json.dumps(_opening(run, link)).encode(), OPENED, patient=True)
        team = team_for(run, over(leader, link))
        yield team
        team.end()


@contextlib.contextmanager
def team_of_mpi(run: OpenRun, leader: Mpi, link: Link = DIRECT) -> Iterator[Team]:
    """The team of the ranks that mpiexec has started."""
    with leading(run, leader, link) as team:
        yield team


@contextlib.contextmanager
def told(communicator: Communicator) -> Iterator[None]:
    """Lets the other ranks know what ends this one."""
    try:
        yield
    except BaseException as error:
        problem = error.problem if isinstance(error, GraphgradError) else str(error)
        communicator.fail(f"{type(error).__name__}: {problem}")
        raise


def _start(
    words: Sequence[str], cores: int, log_file: Path, device: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **device}
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(cores)
    with open(log_file, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the first rank, which ends the others
        )


def _opening(run: OpenRun, link: Link) -> dict[str, Any]:
    """What a rank needs to open the run as the first one has it."""
    kept = run.before.settings
    values = {k: v for k, v in run.configuration.settings.items() if kept.get(k) != v}
    return {
        "run": str(run.folder.path.absolute()),
        "values": values,
        "step": run.step,
        "model": run.model.name if run.model.digest else None,
        "link": [link.latency, link.rate],
    }


def _ended(follower: subprocess.Popen[bytes]) -> None:
    try:
        follower.wait(LATEST)
    except subprocess.TimeoutExpired:
        follower.kill()
        follower.wait()


def follow(communicator: Communicator) -> int:
    """Opens the run that the first rank says, and computes its parts of batches."""
    opening = json.loads(communicator.gather(b"", OPENED, patient=True)[0])
    with told(communicator), threadpool_limits(communicator.cores, "blas"):
        values, step, model = (opening[name] for name in ("values", "step", "model"))
        ranks = communicator.rank, communicator.size
        run = open_run(opening["run"], BUILTIN, values, step, model, "", *ranks)
        team = team_for(run, over(communicator, Link(*opening["link"])))
        print(f"rank {communicator.rank} of {communicator.size}: from step {run.step}", flush=True)
        done = team.follow(run)
    print(f"rank {communicator.rank}: {done} parts of batches computed", flush=True)
    return 0


def followed(communicator: Communicator) -> int:
    """Follows until the end, and says what went wrong; the exit code of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first rank answers Ctrl-C, for all
    try:
        return follow(communicator)
    except GraphgradError as error:
        print(f"rank {communicator.rank}: {error}", file=sys.stderr, flush=True)
        return 2


def of_mpiexec(asked: int, time_limit: float) -> Mpi | None:
    """The connection to the ranks that mpiexec has started; None in a process that runs alone."""
    size = ranks_of_mpi()
    if size == 1:
        return None
    if asked != 1:
        raise ConfigurationError(
            f"mpiexec has started {size} ranks, and --ranks asks for {asked} more processes",
            fix="leave --ranks out",
        )
    _choose_device(place_on_machine())
    return Mpi(time_limit, usable_cores())


def _choose_device(place: int) -> None:
    """Lets this process see one device, the `place`-th of those that it saw: where ranks use
    devices, each has its own. Where there is none for it, CuPy or NCCL says so."""
    names = [name.strip() for name in os.environ.get(DEVICES, "").split(",") if name.strip()]
    if not names or place < len(names):
        os.environ[DEVICES] = names[place] if names else str(place)


def main(words: Sequence[str]) -> int:
    """Runs a rank that `team_of` has started; 0 where all went well."""
    return followed(connected(words))


def connected(words: Sequence[str]) -> Shared:
    """The connection of a rank that `started` has started with these words."""
    memory, rank, size, cores, time_limit = words
    communicator = Shared(memory, int(rank), int(size), float(time_limit), cores=int(cores))
    communicator.gather(b"", OPENED, patient=True)  # all have opened the memory
    return communicator


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
