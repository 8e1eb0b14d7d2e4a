"""Backends: each lowers a plan to a program. Shared files are here; each backend has a folder.


program, source, overlap, workspaces: the program, its text, its memory, and checks of its arguments
room: whether a program fits into memory, and which batch does
arguments: a generated kernel, and what it is called with
choice: the backend of a name
numpy: the NumPy backend
cupy: the backend of CUDA devices
"""

from graphgrad.backends.choice import (
    Backend,
    backend_called,
    devices_of_ranks,
    joined,
    need_backend,
    read_only,
    resident,
)
from graphgrad.backends.numpy import COMPILES, Rates, lower, read_rates
from graphgrad.backends.program import PROGRAM_FILE, Prepared, Program, Started
from graphgrad.backends.room import need_room, ran_out
from graphgrad.backends.workspaces import Workspaces

__all__ = [
    "COMPILES",
    "PROGRAM_FILE",
    "Backend",
    "Prepared",
    "Program",
    "Rates",
    "Started",
    "Workspaces",
    "backend_called",
    "devices_of_ranks",
    "joined",
    "lower",
    "need_backend",
    "need_room",
    "ran_out",
    "read_only",
    "read_rates",
    "resident",
]
