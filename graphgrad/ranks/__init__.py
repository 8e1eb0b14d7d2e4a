"""Ranks: the processes that train one model together, and how they exchange values."""

from graphgrad.ranks.communicator import TIME_LIMIT, Communicator, Lone
from graphgrad.ranks.mpi import Mpi, ranks_of_mpi
from graphgrad.ranks.shared import Shared, create
from graphgrad.ranks.threads import Threads, threads

__all__ = [
    "TIME_LIMIT",
    "Communicator",
    "Lone",
    "Mpi",
    "Shared",
    "Threads",
    "create",
    "ranks_of_mpi",
    "threads",
]
