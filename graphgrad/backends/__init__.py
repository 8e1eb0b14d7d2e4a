"""Backends: each lowers a plan to a program. Shared files are here; each backend has a folder.


program, source, overlap, workspaces: the program, its text, its memory, and checks of its arguments
arguments: a generated kernel, and what it is called with
choice: the backend of a name
numpy: the NumPy backend
cupy: the backend of CUDA devices
"""

from graphgrad.backends.choice import Backend, backend_called, need_backend
from graphgrad.backends.numpy import COMPILES, lower
from graphgrad.backends.program import PROGRAM_FILE, Program
from graphgrad.backends.workspaces import Workspaces

__all__ = [
    "COMPILES",
    "PROGRAM_FILE",
    "Backend",
    "Program",
    "Workspaces",
    "backend_called",
    "lower",
    "need_backend",
]
