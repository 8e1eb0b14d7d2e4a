"""Backends: each lowers a plan to a program. Shared files are here; each backend has a folder.

program, source, overlap, workspaces: the program, its text, its memory, and checks of its arguments
arguments: a generated kernel, and what it is called with
numpy: the NumPy backend
"""

from graphgrad.backends.numpy import COMPILES, lower
from graphgrad.backends.program import PROGRAM_FILE, Program
from graphgrad.backends.workspaces import Workspaces

__all__ = ["COMPILES", "PROGRAM_FILE", "Program", "Workspaces", "lower"]
