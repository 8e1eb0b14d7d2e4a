"""Ranks: the processes that train one model together, and how they exchange values."""

from graphgrad.ranks.communicator import Communicator, Lone
from graphgrad.ranks.threads import Threads, threads

__all__ = ["Communicator", "Lone", "Threads", "threads"]
