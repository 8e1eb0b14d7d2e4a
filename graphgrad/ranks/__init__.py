"""Ranks: the processes that train one model together, and how they exchange values."""

from graphgrad.ranks.beside import Beside
from graphgrad.ranks.communicator import TIME_LIMIT, Communicator, Lone
from graphgrad.ranks.link import Delayed, Link, over
from graphgrad.ranks.mpi import Mpi, place_on_machine, ranks_of_mpi
from graphgrad.ranks.shared import Shared, create
from graphgrad.ranks.threads import Threads, threads
from graphgrad.ranks.timed import Exchange, Timed

__all__ = [
    "TIME_LIMIT",
    "Beside",
    "Communicator",
    "Delayed",
    "Exchange",
    "Link",
    "Lone",
    "Mpi",
    "Shared",
    "Threads",
    "Timed",
    "create",
    "over",
    "place_on_machine",
    "ranks_of_mpi",
    "threads",
]
