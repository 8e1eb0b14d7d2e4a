"""Engines: each lowers a plan to a program."""

from graphgrad.backends.numpy_engine import lower
from graphgrad.backends.program import Program

__all__ = ["Program", "lower"]
