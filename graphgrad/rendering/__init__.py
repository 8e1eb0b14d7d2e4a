"""Graphs as text, pictures and data: what a person reads, never what a computation needs."""

from graphgrad.rendering.view import View

__all__ = ["View"]
