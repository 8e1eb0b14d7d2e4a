"""Renders graphs as text, pictures and JSON, for people to read; no computation needs it."""

from graphgrad.rendering.view import View

__all__ = ["View"]
