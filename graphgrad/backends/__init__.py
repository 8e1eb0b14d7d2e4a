"""Engines: each lowers a plan to a program."""

from graphgrad.backends.numpy_engine import COMPILES, lower
from graphgrad.backends.program import PROGRAM_FILE, Program
from graphgrad.backends.workspaces import Workspaces

__all__ = ["COMPILES", "PROGRAM_FILE", "Program", "Workspaces", "lower"]
