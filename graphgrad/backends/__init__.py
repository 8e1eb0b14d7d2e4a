"""Engines: each lowers a plan to a program."""

from graphgrad.backends.numpy_engine import COMPILES, lower
from graphgrad.backends.program import Program

__all__ = ["COMPILES", "Program", "lower"]
